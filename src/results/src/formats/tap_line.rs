//! One line of TAP in its parts.

use std::time::Duration;

use crate::time::{Comma, milliseconds, seconds};

/// What a line is. Texts are as in the line, escapes and all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'l> {
    Version,
    /// `1..N`; the number is absent if it is beyond belief.
    Plan {
        last: Option<u64>,
        skip_reason: Option<&'l str>,
    },
    Point(Point<'l>),
    /// `# text`
    Comment(&'l str),
    BailOut(&'l str),
    /// `---`, the beginning of a block of details.
    BlockStart,
    /// `}`, the end of a group that its point has opened.
    GroupEnd,
    /// Blank, or nothing that is known.
    Other,
}

/// A test point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Point<'l> {
    pub(crate) mark: Mark,
    pub(crate) id: Option<u64>,
    pub(crate) description: &'l str,
    pub(crate) directive: Directive<'l>,
    pub(crate) duration: Option<Duration>,
    /// Whether what follows in braces belongs to it.
    pub(crate) group: Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Ok,
    NotOk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directive<'l> {
    None,
    Skip(&'l str),
    Todo(&'l str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    None,
    Opens,
}

/// Takes a line without its indentation apart.
pub(crate) fn parse(line: &str) -> Line<'_> {
    let line = line.trim_end();
    if let Some(rest) = word(line, "ok") {
        return point(Mark::Ok, rest);
    }
    if let Some(rest) = word(line, "not ok") {
        return point(Mark::NotOk, rest);
    }
    match line {
        "---" => return Line::BlockStart,
        "}" => return Line::GroupEnd,
        _ => {}
    }
    if let Some(text) = line.strip_prefix('#') {
        return Line::Comment(text.strip_prefix(' ').unwrap_or(text));
    }
    if let Some(reason) = strip_prefix_ignoring_case(line, "bail out!") {
        return Line::BailOut(reason.trim());
    }
    if strip_prefix_ignoring_case(line, "tap version ").is_some() {
        return Line::Version;
    }
    plan(line).unwrap_or(Line::Other)
}

/// What follows `start`, if `line` begins with it as a word of its own.
fn word<'l>(line: &'l str, start: &str) -> Option<&'l str> {
    let rest = line.strip_prefix(start)?;
    let ends = rest.is_empty() || rest.starts_with([' ', '\t', '-', '#']);
    ends.then_some(rest)
}

fn strip_prefix_ignoring_case<'l>(line: &'l str, prefix: &str) -> Option<&'l str> {
    let start = line.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &line[prefix.len()..])
}

fn plan(line: &str) -> Option<Line<'_>> {
    let rest = line.strip_prefix("1..")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let after = &rest[digits..];
    if digits == 0 || !(after.is_empty() || after.starts_with([' ', '\t', '#', ';'])) {
        return None;
    }
    let last = rest[..digits].parse().ok();
    let comment = after.trim_start().strip_prefix('#').map(str::trim);
    let skip_reason = match comment.and_then(|comment| strip_prefix_ignoring_case(comment, "skip"))
    {
        Some(reason) => Some(without_word_end(reason)),
        None if last == Some(0) => Some(comment.unwrap_or_default()),
        None => None,
    };
    Some(Line::Plan { last, skip_reason })
}

/// The text behind the rest of a word: `ped: reason` of `skipped: reason`.
fn without_word_end(text: &str) -> &str {
    text.trim_start_matches(|character: char| character.is_alphanumeric())
        .trim_start_matches(':')
        .trim()
}

fn point(mark: Mark, rest: &str) -> Line<'_> {
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number_ends =
        rest[digits..].is_empty() || rest[digits..].starts_with([' ', '\t', '-', '#']);
    let (id, rest) = match digits {
        0 => (None, rest),
        _ if number_ends => (rest[..digits].parse().ok(), &rest[digits..]),
        _ => (None, rest),
    };
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('-').map_or(rest, str::trim_start);
    let (rest, group) = match rest.strip_suffix('{') {
        // A brace that is glued to a word belongs to the description.
        Some(before) if before.is_empty() || before.ends_with(' ') => {
            (before.trim_end(), Group::Opens)
        }
        _ => (rest, Group::None),
    };
    let (description, comment) = split_comment(rest);
    let mut directive = Directive::None;
    let mut duration = None;
    if let Some(skip) = strip_prefix_ignoring_case(comment, "skip") {
        directive = Directive::Skip(without_word_end(skip));
    } else if let Some(todo) = strip_prefix_ignoring_case(comment, "todo") {
        directive = Directive::Todo(without_word_end(todo));
    } else if let Some(time) = comment.strip_prefix("time=") {
        duration = time_of(time);
    }
    Line::Point(Point {
        mark,
        id,
        description: description.trim(),
        directive,
        duration,
        group,
    })
}

/// Cuts `description # comment` at the last sign that is not escaped and stands apart.
fn split_comment(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut at = bytes.len();
    while let Some(found) = memchr::memrchr(b'#', &bytes[..at]) {
        let apart =
            found == 0 || bytes[found - 1].is_ascii_whitespace() || bytes[found - 1] == b'-';
        let comment = text[found + 1..].trim();
        let known = ["skip", "todo"]
            .iter()
            .any(|known| strip_prefix_ignoring_case(comment, known).is_some());
        if apart && (known || comment.starts_with("time=")) {
            return (text[..found].trim_end_matches('-'), comment);
        }
        at = found;
    }
    (text, "")
}

/// `25.98ms`, `1.2s`
fn time_of(text: &str) -> Option<Duration> {
    let text = text.split_whitespace().next()?;
    match text.strip_suffix("ms") {
        Some(number) => milliseconds(number.as_bytes()),
        None => seconds(
            text.strip_suffix('s').unwrap_or(text).as_bytes(),
            Comma::Decimal,
        ),
    }
}

/// A description with its escapes undone.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\#", "#").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, mark: Mark, id: Option<u64>, description: &str, directive: Directive<'_>) {
        let Line::Point(point) = parse(line) else {
            panic!("`{line}` is no point")
        };
        assert_eq!(
            (point.mark, point.id, point.description),
            (mark, id, description),
            "{line}"
        );
        assert_eq!(point.directive, directive, "{line}");
    }

    #[test]
    fn points_come_in_many_spellings() {
        check("ok", Mark::Ok, None, "", Directive::None);
        check(
            "not ok 7 - it # breaks",
            Mark::NotOk,
            Some(7),
            "it # breaks",
            Directive::None,
        );
        check("ok 2-glued", Mark::Ok, Some(2), "glued", Directive::None);
        check("ok-no number", Mark::Ok, None, "no number", Directive::None);
        check("ok 2nd thing", Mark::Ok, None, "2nd thing", Directive::None);
        check(
            "ok 13 - # SKIP why",
            Mark::Ok,
            Some(13),
            "",
            Directive::Skip("why"),
        );
        check("ok-# skip why", Mark::Ok, None, "", Directive::Skip("why"));
        check(
            "ok 3 # skipped on foobar",
            Mark::Ok,
            Some(3),
            "",
            Directive::Skip("on foobar"),
        );
        check(
            "not ok 4 - d # TODO: later",
            Mark::NotOk,
            Some(4),
            "d",
            Directive::Todo("later"),
        );
        check(
            "ok 5 - hash \\# SKIP none",
            Mark::Ok,
            Some(5),
            "hash \\# SKIP none",
            Directive::None,
        );
        check(
            "not ok 18446744073709551616 - big",
            Mark::NotOk,
            None,
            "big",
            Directive::None,
        );
        assert_eq!(parse("okay 1"), Line::Other);
        assert_eq!(unescape("a \\# b \\\\ c"), "a # b \\ c");
    }

    #[test]
    fn points_may_tell_their_time_and_open_a_group() {
        let Line::Point(point) = parse("not ok 1 - v.mjs # time=25.5ms {") else {
            panic!("no point")
        };
        assert_eq!((point.description, point.group), ("v.mjs", Group::Opens));
        assert_eq!(point.duration, Some(Duration::from_micros(25_500)));
        let Line::Point(point) = parse("ok 1 - f(){") else {
            panic!("no point")
        };
        assert_eq!((point.description, point.group), ("f(){", Group::None));
    }

    #[test]
    fn plans_and_other_lines_are_told_apart() {
        assert_eq!(
            parse("1..10"),
            Line::Plan {
                last: Some(10),
                skip_reason: None
            }
        );
        assert_eq!(
            parse("1..10 todo 4"),
            Line::Plan {
                last: Some(10),
                skip_reason: None
            }
        );
        assert_eq!(
            parse("1..0 # Skipped: no net"),
            Line::Plan {
                last: Some(0),
                skip_reason: Some("no net")
            }
        );
        assert_eq!(
            parse("1..0"),
            Line::Plan {
                last: Some(0),
                skip_reason: Some("")
            }
        );
        assert_eq!(
            parse("1..99999999999999999999"),
            Line::Plan {
                last: None,
                skip_reason: None
            }
        );
        assert_eq!(parse("1..2..3"), Line::Other);
        assert_eq!(parse("TAP Version 13"), Line::Version);
        assert_eq!(parse("Bail out!  gone "), Line::BailOut("gone"));
        assert_eq!(parse("# hm"), Line::Comment("hm"));
    }
}
