//! The argument of `--payload` and `--correlation`, taken apart.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where files come from, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PayloadArgument {
    /// Where they come from.
    pub(crate) source: PayloadSource,
    /// Directory beneath the payload's root; empty for the root.
    pub(crate) destination: String,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PayloadSource {
    /// A file or a directory of this machine.
    Path(PathBuf),
    /// An archive that the agent fetches.
    Url {
        /// Without its fragment.
        url: String,
        /// SHA-256 of the archive, if it was given.
        sha256: Option<[u8; 32]>,
    },
    /// A commit that the agent fetches.
    Git {
        /// Where the repository is.
        url: String,
        /// The full hash.
        commit: String,
        /// Whether submodules are wanted.
        submodules: Submodules,
    },
}

/// Whether submodules are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Submodules {
    /// Only the repository itself.
    Ignored,
    /// They too.
    Fetched,
}

impl FromStr for PayloadArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a directory, a file or a URL".to_owned());
        }
        if let Some(rest) = text.strip_prefix("git+") {
            return git(rest);
        }
        if text.contains("://") {
            url(text)
        } else {
            Ok(path(text))
        }
    }
}

/// A path that exists wins over reading `=` as the beginning of a destination.
fn path(text: &str) -> PayloadArgument {
    let (source, destination) = match text.rsplit_once('=') {
        Some((source, destination)) if !source.is_empty() && !Path::new(text).exists() => {
            (source, destination)
        }
        _ => (text, ""),
    };
    PayloadArgument {
        source: PayloadSource::Path(PathBuf::from(source)),
        destination: destination.to_owned(),
    }
}

fn url(text: &str) -> Result<PayloadArgument, String> {
    let (url, fragment, destination) = split_url(text);
    let sha256 = match fragment {
        "" => None,
        other => {
            let digits = other
                .strip_prefix("sha256=")
                .ok_or_else(|| format!("expected `#sha256=HEX`, found `#{other}`"))?;
            Some(digest(digits)?)
        }
    };
    let source = PayloadSource::Url {
        url: url.to_owned(),
        sha256,
    };
    Ok(PayloadArgument {
        source,
        destination: destination.to_owned(),
    })
}

fn git(text: &str) -> Result<PayloadArgument, String> {
    let (address, fragment, destination) = split_url(text);
    let submodules = match fragment {
        "" => Submodules::Ignored,
        "submodules" => Submodules::Fetched,
        other => return Err(format!("expected `#submodules`, found `#{other}`")),
    };
    let (url, commit) = address
        .rsplit_once('@')
        .ok_or_else(|| "expected `git+URL@COMMIT`".to_owned())?;
    if ![40, 64].contains(&commit.len()) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("a commit is given by its full hash of 40 or 64 digits".to_owned());
    }
    let source = PayloadSource::Git {
        url: url.to_owned(),
        commit: commit.to_owned(),
        submodules,
    };
    Ok(PayloadArgument {
        source,
        destination: destination.to_owned(),
    })
}

/// The URL, its fragment and the destination.
fn split_url(text: &str) -> (&str, &str, &str) {
    match text.split_once('#') {
        Some((url, rest)) => {
            // `sha256=` has an equals sign of its own.
            let start = if rest.starts_with("sha256=") {
                "sha256=".len()
            } else {
                0
            };
            match rest[start..].split_once('=') {
                Some((_, destination)) => {
                    let end = rest.len() - destination.len() - 1;
                    (url, &rest[..end], destination)
                }
                None => (url, rest, ""),
            }
        }
        None if text.contains('?') => (text, "", ""),
        None => {
            let (url, destination) = text.rsplit_once('=').unwrap_or((text, ""));
            (url, "", destination)
        }
    }
}

fn digest(digits: &str) -> Result<[u8; 32], String> {
    const EXPECTED: &str = "a SHA-256 digest has 64 hexadecimal digits";
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(EXPECTED.to_owned());
    }
    let mut bytes = [0; 32];
    for (byte, start) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte =
            u8::from_str_radix(&digits[start..start + 2], 16).map_err(|_| EXPECTED.to_owned())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn check_url(text: &str, url: &str, digest: Option<u8>, destination: &str) {
        let parsed: PayloadArgument = text.parse().unwrap();
        let PayloadSource::Url { url: found, sha256 } = parsed.source else {
            panic!("{text} is no URL");
        };
        assert_eq!(
            (found.as_str(), parsed.destination.as_str()),
            (url, destination),
            "{text}"
        );
        assert_eq!(sha256.map(|digest| digest[1]), digest, "{text}");
    }

    #[test]
    fn urls_keep_their_query_and_give_up_fragment_and_destination() {
        check_url("https://h/a.zip", "https://h/a.zip", None, "");
        check_url("https://h/a.zip=tools", "https://h/a.zip", None, "tools");
        check_url(
            "https://h/a.zip?sig=x=y",
            "https://h/a.zip?sig=x=y",
            None,
            "",
        );
        check_url(
            "https://h/a.zip?sig=x#=tools",
            "https://h/a.zip?sig=x",
            None,
            "tools",
        );
        check_url(
            &format!("https://h/a#sha256={HEX}"),
            "https://h/a",
            Some(0x11),
            "",
        );
        check_url(
            &format!("https://h/a?b=c#sha256={HEX}=d"),
            "https://h/a?b=c",
            Some(0x11),
            "d",
        );
    }

    #[test]
    fn commits_are_full_hashes() {
        let commit = &HEX[..40];
        let parsed: PayloadArgument = format!("git+ssh://git@h/r.git@{commit}#submodules=src")
            .parse()
            .unwrap();
        assert_eq!(
            parsed,
            PayloadArgument {
                source: PayloadSource::Git {
                    url: "ssh://git@h/r.git".to_owned(),
                    commit: commit.to_owned(),
                    submodules: Submodules::Fetched,
                },
                destination: "src".to_owned(),
            }
        );
        assert!(
            "git+https://h/r.git@main"
                .parse::<PayloadArgument>()
                .is_err()
        );
        assert!("git+https://h/r.git".parse::<PayloadArgument>().is_err());
    }

    #[test]
    fn wrong_fragments_are_named() {
        let error = "https://h/a#md5=1".parse::<PayloadArgument>().unwrap_err();
        assert!(error.contains("sha256"), "{error}");
        assert!("https://h/a#sha256=12".parse::<PayloadArgument>().is_err());
        let not_ascii = format!("https://h/a#sha256={}é", &HEX[..62]);
        assert!(not_ascii.parse::<PayloadArgument>().is_err());
    }

    #[test]
    fn a_path_with_an_equals_sign_is_taken_whole_when_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let odd = directory.path().join("a=b");
        std::fs::create_dir(&odd).unwrap();
        let text = odd.to_str().unwrap();
        let parsed: PayloadArgument = text.parse().unwrap();
        assert_eq!(parsed.source, PayloadSource::Path(odd.clone()));
        let parsed: PayloadArgument = format!("{text}=dest").parse().unwrap();
        assert_eq!(
            (parsed.source, parsed.destination.as_str()),
            (PayloadSource::Path(odd), "dest")
        );
    }
}
