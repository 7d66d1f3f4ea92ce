//! From a secret to the texts by which it could show in a log.
//!
//! A command rarely prints a secret as it is: it prints a header in base64, a
//! URL, a JSON body, a line of a script. For each of these the needles hold
//! what the log would show. Base64 of something longer that holds the secret
//! depends on what stands around it only at the two ends; what lies between is
//! the same for a given offset, and there are three offsets.

use std::collections::BTreeSet;

use helix_exec::Needles;
use helix_model::work_item::Secret;

/// Shortest needle in bytes. Shorter ones would blank out half of the log.
const SHORTEST_NEEDLE: usize = 3;
/// Shortest line of a secret of several lines that is masked by itself.
const SHORTEST_LINE: usize = 6;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What to mask for these secrets.
pub(crate) fn needles(secrets: &[Secret]) -> Needles {
    Needles::new(secrets.iter().flat_map(|secret| expand(secret.expose())))
}

/// All the texts that stand for one secret.
fn expand(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut needles = BTreeSet::new();
    // A secret read from a file often ends with a newline that it is printed without.
    for whole in [secret, secret.trim()] {
        expand_text(whole, &mut needles);
    }
    if secret.trim().contains(['\n', '\r']) {
        for line in secret.split(['\n', '\r']).map(str::trim) {
            if line.len() >= SHORTEST_LINE {
                expand_text(line, &mut needles);
            }
        }
    }
    needles.retain(|needle| needle.len() >= SHORTEST_NEEDLE);
    needles
}

fn expand_text(text: &str, needles: &mut BTreeSet<Vec<u8>>) {
    let bytes = text.as_bytes();
    needles.insert(bytes.to_vec());
    for alphabet in [STANDARD, URL_SAFE] {
        for offset in 0..3 {
            needles.insert(base64_inside(bytes, offset, alphabet));
        }
    }
    for digits in [UPPER, LOWER] {
        needles.insert(percent(bytes, digits, Space::Percent));
        needles.insert(percent(bytes, digits, Space::Plus));
    }
    for escaped in [
        json(text),
        json_ascii(text, Hex::Lower),
        json_ascii(text, Hex::Upper),
        json_script(text, Hex::Lower),
        json_script(text, Hex::Upper),
        xml(text, "&apos;"),
        xml(text, "&#39;"),
        xml(text, "'"),
        shell(text),
    ] {
        needles.insert(escaped.into_bytes());
    }
}

/// The part of the base64 of a longer text that only the secret decides, when
/// the secret begins `offset` bytes behind a multiple of three.
fn base64_inside(secret: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    // Each character shows six bits. Those that reach into what stands before
    // or after the secret are not known.
    let first_bit = offset * 8;
    let last_bit = first_bit + secret.len() * 8;
    let bit = |at: usize| {
        let at = at - first_bit;
        secret[at / 8] >> (7 - at % 8) & 1
    };
    (first_bit.div_ceil(6)..last_bit / 6)
        .map(|character| {
            let value = (0..6).fold(0, |value, at| value << 1 | bit(character * 6 + at));
            alphabet[usize::from(value)]
        })
        .collect()
}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// How a blank stands in a URL: in its path, or in a form.
#[derive(Clone, Copy)]
enum Space {
    Percent,
    Plus,
}

/// Everything but the characters that no encoder touches as `%XX`.
fn percent(bytes: &[u8], digits: &[u8; 16], space: Space) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        match (byte, space) {
            (b' ', Space::Plus) => encoded.push(b'+'),
            (b'-' | b'.' | b'_' | b'~', _) => encoded.push(byte),
            (byte, _) if byte.is_ascii_alphanumeric() => encoded.push(byte),
            (byte, _) => encoded.extend([
                b'%',
                digits[usize::from(byte >> 4)],
                digits[usize::from(byte & 0xf)],
            ]),
        }
    }
    encoded
}

/// The digits of an escape, which encoders write one way or the other.
#[derive(Clone, Copy)]
enum Hex {
    Lower,
    Upper,
}

/// As a JSON string, without its quotes: only what must be is escaped.
fn json(text: &str) -> String {
    json_with(text, Hex::Lower, |_| false)
}

/// The same from encoders that write ASCII only, as Python's does.
fn json_ascii(text: &str, hex: Hex) -> String {
    json_with(text, hex, |character| !character.is_ascii())
}

/// The same from encoders that make their output safe inside a script, as .NET's
/// does.
fn json_script(text: &str, hex: Hex) -> String {
    json_with(text, hex, |character| {
        !character.is_ascii() || matches!(character, '<' | '>' | '&' | '\'' | '+' | '`' | '"')
    })
}

fn json_with(text: &str, hex: Hex, escape: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        let short = match character {
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '\u{8}' => Some("\\b"),
            '\u{c}' => Some("\\f"),
            '"' if !escape('"') => Some("\\\""),
            _ => None,
        };
        if let Some(short) = short {
            escaped.push_str(short);
        } else if escape(character) || character < ' ' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&match hex {
                    Hex::Lower => format!("\\u{unit:04x}"),
                    Hex::Upper => format!("\\u{unit:04X}"),
                });
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// As text or attribute in XML or HTML.
fn xml(text: &str, apostrophe: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str(apostrophe),
            character => escaped.push(character),
        }
    }
    escaped
}

/// Inside single quotes of a shell, as `set -x` shows it.
fn shell(text: &str) -> String {
    text.replace('\'', "'\\''")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(haystack: &[u8], needles: &BTreeSet<Vec<u8>>) -> bool {
        needles.iter().any(|needle| {
            haystack
                .windows(needle.len())
                .any(|window| window == needle)
        })
    }

    /// Base64 as everybody writes it.
    fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for chunk in bytes.chunks(3) {
            let group = chunk.iter().enumerate().fold(0_u32, |group, (at, &byte)| {
                group | u32::from(byte) << (16 - 8 * at)
            });
            for at in 0..=chunk.len() {
                let value = group >> (18 - 6 * at) & 0x3f;
                encoded.push(alphabet[usize::try_from(value).expect("six bits")]);
            }
            encoded.resize(encoded.len() + 3 - chunk.len(), b'=');
        }
        encoded
    }

    #[test]
    fn base64_of_the_test_is_the_usual_one() {
        assert_eq!(base64(b"Man", STANDARD), b"TWFu");
        assert_eq!(base64(b"Ma", STANDARD), b"TWE=");
        assert_eq!(base64(b"\xfb\xff", URL_SAFE), b"-_8=");
    }

    #[test]
    fn a_secret_is_found_as_tools_print_it() {
        let needles = expand("p@ss 'w\"<ö>&\\+/");
        for printed in [
            "p@ss 'w\"<ö>&\\+/",
            "p%40ss%20%27w%22%3C%C3%B6%3E%26%5C%2B%2F",
            "p%40ss+%27w%22%3c%c3%b6%3e%26%5c%2b%2f",
            r#"p@ss 'w\"<ö>&\\+/"#,
            r#"p@ss 'w\"<\u00f6>&\\+/"#,
            r"p@ss \u0027w\u0022\u003C\u00F6\u003E\u0026\\\u002B/",
            "p@ss &apos;w&quot;&lt;ö&gt;&amp;\\+/",
            "p@ss &#39;w&quot;&lt;ö&gt;&amp;\\+/",
            r#"p@ss '\''w"<ö>&\+/"#,
        ] {
            assert!(needles.contains(printed.as_bytes()), "{printed}");
        }
    }

    #[test]
    fn lines_of_a_key_are_masked_one_by_one() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\nhkiG9w\nabc\n-----END KEY-----\n";
        let needles = expand(key);
        for line in [
            "MIIEvQIBADANBgkq",
            "hkiG9w",
            "-----END KEY-----",
            key,
            key.trim(),
        ] {
            assert!(needles.contains(line.as_bytes()), "{line}");
        }
        assert!(
            !needles.contains(b"abc".as_slice()),
            "three letters are everywhere"
        );
    }

    #[test]
    fn a_secret_with_a_newline_at_its_end_is_masked_without_it() {
        assert!(expand("hunter2\n").contains(b"hunter2".as_slice()));
    }

    #[test]
    fn no_needle_is_shorter_than_three_bytes() {
        for secret in ["abc", "a\nb", "\u{1F600}"] {
            assert!(
                expand(secret)
                    .iter()
                    .all(|needle| needle.len() >= SHORTEST_NEEDLE)
            );
        }
    }

    proptest! {
        #[test]
        fn every_encoding_of_a_secret_in_its_surroundings_holds_a_needle(
            before in prop::collection::vec(any::<u8>(), 0..9),
            secret in "\\PC{3,40}",
            after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let needles = expand(&secret);
            let whole = [before.as_slice(), secret.as_bytes(), after.as_slice()].concat();
            prop_assert!(contains(&whole, &needles));
            prop_assert!(contains(&base64(&whole, STANDARD), &needles));
            prop_assert!(contains(&base64(&whole, URL_SAFE), &needles));
            for digits in [UPPER, LOWER] {
                prop_assert!(contains(&percent(&whole, digits, Space::Percent), &needles));
                prop_assert!(contains(&percent(&whole, digits, Space::Plus), &needles));
            }
            let text = format!("<{}{secret}\u{7}\"", String::from_utf8_lossy(&before));
            let encoded = serde_json::to_string(&text).expect("text");
            prop_assert!(contains(encoded.as_bytes(), &needles), "{encoded}");
            for encoded in [
                json_ascii(&text, Hex::Lower),
                json_script(&text, Hex::Upper),
                xml(&text, "&apos;"),
                shell(&text),
            ] {
                prop_assert!(contains(encoded.as_bytes(), &needles), "{encoded}");
            }
        }
    }
}
