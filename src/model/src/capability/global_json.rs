//! Reads the SDK's version out of `global.json`.
//!
//! The file is JSON with comments and trailing commas, and this crate parses no JSON otherwise; so
//! this is a scanner that walks past everything but the one object it is after, and accepts
//! somewhat more than JSON.

use super::requirement_file::RequirementFileError;

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;

/// What the `sdk` object says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SdkEntry {
    /// `version`, if it is there and a text.
    pub(super) version: Option<String>,
    /// `rollForward`, if it is there and a text.
    pub(super) roll_forward: Option<String>,
    /// `allowPrerelease`, if it is there.
    pub(super) allow_pre_release: Option<bool>,
    /// The line of whichever of them came last, counted from 1.
    pub(super) line: usize,
}

/// Finds the `sdk` object; an empty entry if there is none.
pub(super) fn read_sdk_entry(text: &str) -> Result<SdkEntry, RequirementFileError> {
    let mut scanner = Scanner { text, at: 0 };
    let mut entry = SdkEntry::default();
    scanner.members(0, &mut |scanner, key| match key {
        "sdk" if scanner.peek() == Some('{') => scanner.members(1, &mut |scanner, key| {
            let line = scanner.line();
            match key {
                "version" => entry.version = Some(scanner.text_of(key)?),
                "rollForward" => entry.roll_forward = Some(scanner.text_of(key)?),
                "allowPrerelease" => entry.allow_pre_release = Some(scanner.truth_of(key)?),
                _ => return scanner.skip_value(1),
            }
            entry.line = line;
            Ok(())
        }),
        _ => scanner.skip_value(0),
    })?;
    scanner.skip_blanks()?;
    match scanner.peek() {
        None => Ok(entry),
        Some(_) => Err(scanner.error("something follows the end of the object")),
    }
}

struct Scanner<'text> {
    text: &'text str,
    at: usize,
}

/// What to do about a member of an object: takes its value off the scanner.
type OnMember<'a, 'text> =
    &'a mut dyn FnMut(&mut Scanner<'text>, &str) -> Result<(), RequirementFileError>;

impl<'text> Scanner<'text> {
    fn rest(&self) -> &'text str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn line(&self) -> usize {
        self.text.as_bytes()[..self.at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }

    fn error(&self, problem: impl Into<String>) -> RequirementFileError {
        RequirementFileError {
            line: self.line(),
            problem: problem.into(),
        }
    }

    /// Passes over white space and comments.
    fn skip_blanks(&mut self) -> Result<(), RequirementFileError> {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start();
            self.at += rest.len() - bare.len();
            if bare.starts_with("//") {
                self.at += bare.find('\n').unwrap_or(bare.len());
            } else if bare.starts_with("/*") {
                let end = bare
                    .find("*/")
                    .ok_or_else(|| self.error("the comment has no end"))?;
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    /// Takes `expected`, or nothing.
    fn take(&mut self, expected: char) -> bool {
        let is_there = self.peek() == Some(expected);
        if is_there {
            self.at += expected.len_utf8();
        }
        is_there
    }

    /// Walks through an object. When `on_member` is called, the value is next.
    fn members(
        &mut self,
        depth: usize,
        on_member: OnMember<'_, 'text>,
    ) -> Result<(), RequirementFileError> {
        if depth > MAX_DEPTH {
            return Err(self.error("values are nested too deep"));
        }
        self.skip_blanks()?;
        if !self.take('{') {
            return Err(self.error("an object should start here"));
        }
        loop {
            self.skip_blanks()?;
            if self.take('}') {
                return Ok(());
            }
            let key = self.string()?;
            self.skip_blanks()?;
            if !self.take(':') {
                return Err(self.error("a `:` should be here"));
            }
            self.skip_blanks()?;
            on_member(self, &key)?;
            self.skip_blanks()?;
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.error("a `,` or `}` should be here"));
            }
        }
    }

    /// Takes the value of a member of `sdk` that must be a text.
    fn text_of(&mut self, key: &str) -> Result<String, RequirementFileError> {
        match self.peek() {
            Some('"') => self.string(),
            Some(_) | None => Err(self.error(format!("`sdk.{key}` is not a text"))),
        }
    }

    /// Takes the value of a member of `sdk` that must be true or false.
    fn truth_of(&mut self, key: &str) -> Result<bool, RequirementFileError> {
        for (word, truth) in [("true", true), ("false", false)] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(truth);
            }
        }
        Err(self.error(format!("`sdk.{key}` is neither true nor false")))
    }

    /// Passes over a value of whatever kind.
    fn skip_value(&mut self, depth: usize) -> Result<(), RequirementFileError> {
        match self.peek() {
            Some('{') => self.members(depth + 1, &mut |scanner, _| scanner.skip_value(depth + 1)),
            Some('[') => self.skip_array(depth + 1),
            Some('"') => self.string().map(drop),
            Some(_) | None => {
                let rest = self.rest();
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
                    .unwrap_or(rest.len());
                if end == 0 {
                    return Err(self.error("a value should be here"));
                }
                self.at += end;
                Ok(())
            }
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), RequirementFileError> {
        if depth > MAX_DEPTH {
            return Err(self.error("values are nested too deep"));
        }
        self.take('[');
        loop {
            self.skip_blanks()?;
            if self.take(']') {
                return Ok(());
            }
            self.skip_value(depth)?;
            self.skip_blanks()?;
            if !self.take(',') && self.peek() != Some(']') {
                return Err(self.error("a `,` or `]` should be here"));
            }
        }
    }

    /// Takes a text between quotation marks and resolves its escapes.
    fn string(&mut self) -> Result<String, RequirementFileError> {
        if !self.take('"') {
            return Err(self.error("a text in quotation marks should be here"));
        }
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => {
                    return Err(self.error("the text has no closing quotation mark"));
                }
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(character) => text.push(character),
            }
        }
    }

    fn escape(&mut self) -> Result<char, RequirementFileError> {
        match self.next() {
            Some(character @ ('"' | '\\' | '/')) => Ok(character),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => self.unicode_escape(),
            Some(_) | None => Err(self.error("there is no such escape")),
        }
    }

    fn unicode_escape(&mut self) -> Result<char, RequirementFileError> {
        let high = self.four_digits()?;
        let code = if (0xD800..0xDC00).contains(&high) {
            let low = if self.take('\\') && self.take('u') {
                self.four_digits()?
            } else {
                0
            };
            if !(0xDC00..0xE000).contains(&low) {
                return Err(self.error("half of a surrogate pair is missing"));
            }
            0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.error("half of a surrogate pair is missing"))
    }

    fn four_digits(&mut self) -> Result<u32, RequirementFileError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|character| character.to_digit(16));
            code =
                code * 16 + digit.ok_or_else(|| self.error("four hexadecimal digits are due"))?;
        }
        Ok(code)
    }
}
