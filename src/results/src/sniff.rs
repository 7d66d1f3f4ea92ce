//! Finds out what a file is, from its content alone.

use crate::formats::tap;
use crate::json;
use crate::model::Format;
use crate::source::{Fill, Source};
use crate::xml::tag::Tag;
use crate::xml::tokenizer::{Token, Tokenizer};

/// Bytes of foreign text in front of a document that are looked through.
const LEADING_BYTES: usize = 64 << 10;

/// What stands at the current place of a source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// A document of this format begins here, behind so many bytes of text that belong to nothing.
    Document { format: Format, foreign_bytes: u64 },
    /// Something else begins here; what it looks like.
    Foreign(String),
    /// Nothing but white space is left.
    Nothing,
}

/// Moves `source` to the beginning of the next document and says what it is.
pub(crate) fn sniff(source: &mut Source<'_>) -> Sniffed {
    skip_blank(source);
    let found = match source.available().first() {
        None => return Sniffed::Nothing,
        Some(b'<') => sniff_xml(source),
        Some(b'{' | b'[') => json::sniff::sniff(source.available()),
        Some(_) => tap::sniff(source.available()).ok_or_else(|| "plain text".to_owned()),
    };
    let reason = match found {
        Ok(format) => {
            return Sniffed::Document {
                format,
                foreign_bytes: 0,
            };
        }
        Err(reason) => reason,
    };
    // Console output in front of a document is common where standard output was redirected. A whole document of
    // another kind is not looked into: it may quote anything.
    if source.available().starts_with(b"<") {
        return Sniffed::Foreign(reason);
    }
    match sniff_behind_text(source) {
        Some(sniffed) => sniffed,
        None => Sniffed::Foreign(reason),
    }
}

/// Steps over white space, NULs and byte order marks.
fn skip_blank(source: &mut Source<'_>) {
    loop {
        let available = source.available();
        let blank = available.iter().position(|byte| {
            !(byte.is_ascii_whitespace() || matches!(byte, 0 | 0xEF | 0xBB | 0xBF))
        });
        let length = blank.unwrap_or(available.len());
        source.consume(length);
        if blank.is_some() {
            // What follows is judged by more than its first byte.
            source.ensure(LEADING_BYTES);
            return;
        }
        if source.fill() == Fill::Ended {
            return;
        }
    }
}

/// Looks at the root element; on success `source` stands on its start tag.
fn sniff_xml(source: &mut Source<'_>) -> Result<Format, String> {
    let mut tokenizer = Tokenizer::new(source);
    loop {
        match tokenizer.next() {
            Token::Open | Token::Empty => break,
            Token::Text if tokenizer.text().trim_ascii().is_empty() => {}
            Token::Text | Token::Literal => return Err("text that begins like XML".to_owned()),
            Token::Close => return Err("XML that begins with an end tag".to_owned()),
            Token::End => return Err("XML without any element".to_owned()),
        }
    }
    // The first children decide between formats with the same root.
    tokenizer.source().ensure(LEADING_BYTES);
    let tag = tokenizer.tag();
    let name = crate::text::printable_line(&String::from_utf8_lossy(tag.name()), 60);
    classify_root(&tag, tokenizer.ahead()).map_err(|what| {
        what.map_or_else(|| format!("XML with root element `{name}`"), str::to_owned)
    })
}

/// The format of a root element; else what it is known to be, if anything.
fn classify_root(tag: &Tag<'_>, following: &[u8]) -> Result<Format, Option<&'static str>> {
    let has = |text: &str| memchr::memmem::find(following, text.as_bytes());
    let namespace = |text: &str| has_namespace(tag, following, text);
    match tag.name() {
        b"testsuites" | b"testsuite" | b"testcase" => {
            if namespace("check.sourceforge.net") {
                return Err(Some("a report of the Check library"));
            }
            Ok(Format::JUnit)
        }
        b"assemblies" => Ok(Format::XUnit),
        b"assembly" => match (has("<collection"), has("<class")) {
            _ if namespace("schemas-microsoft-com:asm") => Err(Some("a build manifest")),
            (Some(collection), Some(class)) if class < collection => Ok(Format::XUnitV1),
            (Some(_), _) => Ok(Format::XUnit),
            (None, Some(_)) => Ok(Format::XUnitV1),
            (None, None) if tag.attribute(b"configFile").is_some() => Ok(Format::XUnitV1),
            (None, None) if tag.attribute(b"run-date").is_some() => Ok(Format::XUnit),
            (None, None) => Err(None),
        },
        b"test-run" | b"test-suite" => Ok(Format::NUnit3),
        b"test-results" => Ok(Format::NUnit2),
        b"TestRun" => {
            let cppunit = has("<FailedTests").or(has("<SuccessfulTests"));
            match cppunit {
                Some(_) => Err(Some("a report of CppUnit")),
                None if namespace("/TeamTest/") => Ok(Format::Trx),
                None if has("<Results").is_some() || has("UnitTestResult").is_some() => {
                    Ok(Format::Trx)
                }
                None => Err(None),
            }
        }
        b"Site" if has("<Testing").is_some() => Ok(Format::CTest),
        b"Site" => Err(Some("a CTest file without tests")),
        b"html" | b"HTML" => Err(Some("an HTML page")),
        b"coverage" | b"CoverageSession" => Err(Some("a coverage report")),
        b"testng-results" => Err(Some("a TestNG report")),
        b"robot" => Err(Some("a Robot Framework report")),
        b"Catch" | b"Catch2TestRun" => Err(Some("a Catch2 report")),
        b"TestLog" | b"TestResult" => Err(Some("a Boost.Test report")),
        _ => Err(None),
    }
}

/// Whether the start tag declares a namespace that contains `text`.
fn has_namespace(tag: &Tag<'_>, following: &[u8], text: &str) -> bool {
    let end = tag.length().min(following.len());
    memchr::memmem::find(&following[..end], text.as_bytes()).is_some()
}

/// Looks for a document behind text that belongs to nothing.
fn sniff_behind_text(source: &mut Source<'_>) -> Option<Sniffed> {
    const ROOTS: [&[u8]; 12] = [
        b"<?xml",
        b"<testsuites",
        b"<testsuite",
        b"<testcase",
        b"<assemblies",
        b"<assembly",
        b"<test-run",
        b"<test-suite",
        b"<test-results",
        b"<TestRun",
        b"<Site",
        b"<!DOCTYPE",
    ];
    let available = source.available();
    let window = &available[..available.len().min(LEADING_BYTES)];
    let xml = memchr::memchr_iter(b'<', window).find(|at| {
        ROOTS.iter().any(|root| {
            window[*at..].strip_prefix(*root).is_some_and(|rest| {
                rest.first()
                    .is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))
            })
        })
    });
    let line =
        lines(window).find(|at| window[*at..].starts_with(b"{\"") || tap::begins(&window[*at..]));
    let mut places: Vec<usize> = xml.into_iter().chain(line).collect();
    places.sort_unstable();
    for place in places {
        let rest = &source.available()[place..];
        match rest.first() {
            Some(b'<') => {
                source.consume(place);
                let result = sniff_xml(source).ok();
                return result.map(|format| document(format, place));
            }
            Some(b'{') => {
                if let Ok(format) = json::sniff::sniff(rest) {
                    source.consume(place);
                    return Some(document(format, place));
                }
            }
            _ => {
                source.consume(place);
                return Some(document(Format::Tap, place));
            }
        }
    }
    None
}

fn document(format: Format, foreign_bytes: usize) -> Sniffed {
    Sniffed::Document {
        format,
        foreign_bytes: crate::text::as_u64(foreign_bytes),
    }
}

/// The places where lines begin.
fn lines(text: &[u8]) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text).map(|at| at + 1))
}
