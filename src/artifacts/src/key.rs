//! From the name of an artifact to the key under which a store keeps it.
//!
//! A key is narrower than a name: some stores drop a dot at the end of a component, some clients
//! cannot write `?` or `:`, the local folder keeps `#1` for its own unfinished files, a component
//! is a file name there (255 bytes), and a whole key ends at 1024 bytes. What a store would not
//! carry is encoded, and what is too long is cut and marked with a digest of the whole, so that
//! different names never share a key.

use std::os::unix::ffi::OsStrExt;

use object_store::path::{Path as Key, PathPart};
use sha2::{Digest, Sha256};

use crate::name::{ArtifactName, deceives, encode_with};

/// Longest component in bytes. A local store adds up to four bytes while it writes.
const LONGEST_COMPONENT: usize = 240;

/// Longest name part of a key in bytes; the prefix of the destination comes on top.
const LONGEST_KEY: usize = 640;

/// Longest extension that survives a cut.
const LONGEST_EXTENSION: usize = 24;

/// The key of `name` beneath `prefix`.
pub(crate) fn key(prefix: &Key, name: &ArtifactName) -> Key {
    let components: Vec<String> = name
        .components()
        .map(|part| component(part.as_bytes()))
        .collect();
    let bytes: usize = components.iter().map(|part| part.len() + 1).sum();
    let kept = if bytes <= LONGEST_KEY {
        components
    } else {
        let file = components.last().map_or("", String::as_str);
        vec!["~long".to_owned(), cut(file, name.as_str().as_bytes())]
    };
    kept.iter()
        .fold(prefix.clone(), |key, part| match PathPart::parse(part) {
            Ok(part) => key.join(part),
            // Nothing that the encoding lets through is refused; should it ever be, the store's own
            // encoding is as good.
            Err(_) => key.join(part.as_str()),
        })
}

/// One component of a prefix or name as a component of a key.
pub(crate) fn component(bytes: &[u8]) -> String {
    let mut encoded = encode_with(bytes, |character| {
        deceives(character)
            || matches!(
                character,
                '%' | '\\' | '/' | '#' | '?' | '*' | '<' | '>' | ':' | '"' | '|' | '~'
            )
    });
    if encoded.ends_with('.') {
        encoded.pop();
        encoded.push_str("%2E");
    }
    if encoded.len() > LONGEST_COMPONENT {
        cut(&encoded, bytes)
    } else {
        encoded
    }
}

/// The beginning of `encoded`, a mark, 24 hexadecimal digits of the SHA-256 of `whole`, and the
/// extension. No component that is not cut holds the mark.
fn cut(encoded: &str, whole: &[u8]) -> String {
    let extension = match encoded.rfind('.') {
        Some(dot) if dot > 0 && encoded.len() - dot <= LONGEST_EXTENSION => &encoded[dot..],
        _ => "",
    };
    let stem = &encoded[..encoded.len() - extension.len()];
    // No escape sequence is cut in half: it would read as another one.
    let mut end = stem.floor_char_boundary(120);
    if let Some(percent) = stem[..end].rfind('%')
        && end - percent < 3
    {
        end = percent;
    }
    let digest: String = Sha256::digest(whole)
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}~{digest}{extension}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::*;

    fn key_of(path: &[u8]) -> String {
        let name = ArtifactName::from_path(OsStr::from_bytes(path)).expect("a name");
        key(&Key::from_iter(["job", "attempt"]), &name).to_string()
    }

    #[test]
    fn ordinary_names_are_their_own_keys() {
        assert_eq!(
            key_of("logs/Prüfung 1.txt".as_bytes()),
            "job/attempt/logs/Prüfung 1.txt"
        );
    }

    #[test]
    fn what_a_store_would_not_carry_is_encoded_once() {
        assert_eq!(key_of(b"C#1"), "job/attempt/C%231");
        assert_eq!(key_of(b"100%"), "job/attempt/100%25");
        assert_eq!(key_of(b"caf\xe9"), "job/attempt/caf%E9");
        assert_eq!(key_of(b"dir./what?"), "job/attempt/dir%2E/what%3F");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let names = [
            format!("{}a.xml", "x".repeat(250)),
            format!("{}b.xml", "x".repeat(250)),
            "é".repeat(127),
            "\\".repeat(250),
            format!("a{}", "\\".repeat(250)),
            [
                "y".repeat(200),
                "y".repeat(200),
                "y".repeat(200),
                "z.txt".into(),
            ]
            .join("/"),
            [
                "y".repeat(200),
                "y".repeat(200),
                "y".repeat(201),
                "z.txt".into(),
            ]
            .join("/"),
        ];
        let keys: BTreeSet<String> = names.iter().map(|name| key_of(name.as_bytes())).collect();
        assert_eq!(keys.len(), names.len());
        for key in keys {
            for escape in key.split('%').skip(1) {
                let digits = escape.as_bytes().get(..2);
                assert!(
                    digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)),
                    "{key}"
                );
            }
            assert!(key.len() < 1024);
            assert!(
                key.split('/').all(|part| part.len() <= LONGEST_COMPONENT),
                "{key}"
            );
        }
        assert!(key_of(names[0].as_bytes()).ends_with(".xml"));
    }

    proptest! {
        #[test]
        fn different_names_have_different_keys(
            first in "[a%#~.?\\\\é]{1,6}", second in "[a%#~.?\\\\é]{1,6}"
        ) {
            prop_assume!(first != second);
            for path in [&first, &second] {
                prop_assume!(path.as_str() != "." && path.as_str() != "..");
            }
            prop_assert_ne!(key_of(first.as_bytes()), key_of(second.as_bytes()));
        }

        #[test]
        fn every_key_fits(bytes in prop::collection::vec(1u8.., 1..255)) {
            let bytes: Vec<u8> =
                bytes.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect();
            prop_assume!(bytes != b"." && bytes != b"..");
            let part = component(&bytes);
            prop_assert!(part.len() <= LONGEST_COMPONENT);
            prop_assert!(PathPart::parse(&part).is_ok());
            prop_assert!(!part.ends_with('.'));
        }
    }
}
