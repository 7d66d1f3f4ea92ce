//! Where the files of a work item come from and where they go.

use std::fmt;
use std::str::FromStr;

use crate::path::RelativePath;

/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Files to be fetched and laid out before the command starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Where they come from.
    pub source: PayloadSource,
    /// Where they go, below the directory for their kind of payload.
    pub destination: RelativePath,
    /// The digest of the archive, when the sender knows it. Not for [`PayloadSource::Git`], whose
    /// commit is one already.
    pub sha256: Option<Sha256>,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// An archive.
    Url(PayloadUrl),
    /// A commit of a repository.
    Git {
        /// The repository.
        url: GitUrl,
        /// The commit.
        commit: Commit,
        /// What to do about its submodules.
        submodules: Submodules,
    },
}

/// What to do about the submodules of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Submodules {
    /// Leave their directories empty.
    #[default]
    Skip,
    /// Fetch them, and theirs.
    Fetch,
}

/// The address of an archive: `http`, `https` or `file`.
///
/// Printing it leaves out user, password and query, which often hold a token;
/// [`PayloadUrl::as_str`] is whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadUrl(String);

/// The address of a repository: `http`, `https`, `ssh` or `file`.
///
/// The other transports that git knows could run programs of the sender's choice in the agent's
/// name. Printing it leaves out user, password and query; [`GitUrl::as_str`] is whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitUrl(String);

/// Why an address is refused. Never repeats the address, which may hold a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no `scheme://` in front.
    #[error("the address has no scheme such as `https://`")]
    NoScheme,
    /// The scheme is none of the known ones.
    #[error("the address has the scheme `{scheme}`, known are {known}")]
    UnknownScheme {
        /// What was given.
        scheme: String,
        /// The known ones, as a list in words.
        known: &'static str,
    },
    /// Nothing where the host should be.
    #[error("the address names no host")]
    NoHost,
    /// A `file` address that names another machine.
    #[error("the `file` address names the host `{host}`, only the local machine is possible")]
    RemoteFile {
        /// The host.
        host: String,
    },
    /// A `file` address without an absolute path.
    #[error("the `file` address has no absolute path")]
    NoPath,
    /// A blank, a control character or a backslash.
    #[error(
        "the address has the character {character:?} at byte {position}, which must be percent-encoded"
    )]
    BadCharacter {
        /// The offending character.
        character: char,
        /// Where it stands, in bytes, counted from 0.
        position: usize,
    },
    /// It is too long.
    #[error("the address has {length} bytes, the limit is {limit}", limit = MAX_URL_BYTES)]
    TooLong {
        /// How many bytes it has.
        length: usize,
    },
}

fn check_url(text: &str, schemes: &[&str], known: &'static str) -> Result<(), UrlError> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlError::TooLong { length: text.len() });
    }
    if let Some((position, character)) = text
        .char_indices()
        .find(|(_, c)| c.is_control() || c.is_whitespace() || *c == '\\')
    {
        return Err(UrlError::BadCharacter {
            character,
            position,
        });
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        let scheme = scheme.chars().take(32).collect();
        return Err(UrlError::UnknownScheme { scheme, known });
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if scheme == "file" {
        if !(authority.is_empty() || authority.eq_ignore_ascii_case("localhost")) {
            return Err(UrlError::RemoteFile {
                host: authority.to_owned(),
            });
        }
        if !path.starts_with('/') {
            return Err(UrlError::NoPath);
        }
        return Ok(());
    }
    let host = authority.rsplit('@').next().unwrap_or(authority);
    // git hands the host to ssh as an argument, where a dash would make it an option.
    if host.is_empty() || host.starts_with([':', '-']) {
        return Err(UrlError::NoHost);
    }
    Ok(())
}

/// The address without what may be a token: user, password, query and fragment.
fn write_redacted(text: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let plain = path.split(['?', '#']).next().unwrap_or(path);
    let hidden = if plain.len() < path.len() { "?***" } else { "" };
    write!(formatter, "{scheme}://{host}{plain}{hidden}")
}

macro_rules! checked_url {
    ($name:ident, $schemes:expr, $known:expr) => {
        impl $name {
            /// Checks an address.
            ///
            /// # Errors
            ///
            /// What is wrong with it, without repeating it.
            pub fn new(text: impl Into<String>) -> Result<Self, UrlError> {
                let text = text.into();
                check_url(&text, $schemes, $known)?;
                Ok(Self(text))
            }

            /// The whole address, tokens included: not for logs.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The scheme in lower case, such as `https`.
            #[must_use]
            pub fn scheme(&self) -> String {
                self.0
                    .split_once("://")
                    .map_or("", |(scheme, _)| scheme)
                    .to_ascii_lowercase()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_redacted(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

checked_url!(
    PayloadUrl,
    &["http", "https", "file"],
    "`http`, `https` and `file`"
);
checked_url!(
    GitUrl,
    &["http", "https", "ssh", "file"],
    "`http`, `https`, `ssh` and `file`"
);

/// The full name of a commit: 40 or 64 hexadecimal digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

/// A text that is not the full name of a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a full commit name of 40 or 64 hexadecimal digits")]
pub struct CommitError {
    /// What was given, cut to 80 characters.
    pub text: String,
}

impl Commit {
    /// Checks the name of a commit. Branches, tags and short names are refused: they may mean
    /// something else by the time of the next attempt.
    ///
    /// # Errors
    ///
    /// The text is not 40 or 64 hexadecimal digits.
    pub fn new(text: &str) -> Result<Self, CommitError> {
        if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(CommitError {
                text: text.chars().take(80).collect(),
            })
        }
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A SHA-256 digest; printed and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Sha256Error {
    /// Not 64 characters.
    #[error("a SHA-256 digest has 64 hexadecimal digits, not {length}")]
    Length {
        /// How many bytes there are.
        length: usize,
    },
    /// A character that is no digit.
    #[error("a SHA-256 digest has hexadecimal digits only, byte {position} is none")]
    Digit {
        /// Where it stands, counted from 0.
        position: usize,
    },
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        if text.len() != 64 {
            return Err(Sha256Error::Length { length: text.len() });
        }
        let mut digest = [0; 32];
        for (position, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return Err(Sha256Error::Digit { position }),
            };
            digest[position / 2] = digest[position / 2] << 4 | digit;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sha256({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(), UrlError>) {
        assert_eq!(PayloadUrl::new(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn archive_comes_from_a_known_scheme_and_a_host() {
        for good in [
            "https://example.com/a.zip?sv=1&sig=x%2By",
            "HTTP://127.0.0.1:8080/a",
            "https://[::1]/a",
            "https://user:word@example.com",
            "file:///tmp/a.tar.gz",
            "file://localhost/tmp/a",
        ] {
            check(good, Ok(()));
        }
        check("a.zip", Err(UrlError::NoScheme));
        check("", Err(UrlError::NoScheme));
        let unknown = |scheme: &str| UrlError::UnknownScheme {
            scheme: scheme.to_owned(),
            known: "`http`, `https` and `file`",
        };
        check("ftp://example.com/a", Err(unknown("ftp")));
        check("ssh://example.com/a", Err(unknown("ssh")));
        check("https:///a", Err(UrlError::NoHost));
        check("https://user@/a", Err(UrlError::NoHost));
        check("https://:80/a", Err(UrlError::NoHost));
        check(
            "file://server/a",
            Err(UrlError::RemoteFile {
                host: "server".to_owned(),
            }),
        );
        check("file://", Err(UrlError::NoPath));
        let blank = UrlError::BadCharacter {
            character: ' ',
            position: 11,
        };
        check("https://a/b c", Err(blank));
        let newline = UrlError::BadCharacter {
            character: '\n',
            position: 10,
        };
        check("https://a/\nX-Header: 1", Err(newline));
        let length = MAX_URL_BYTES + 1;
        check(&"x".repeat(length), Err(UrlError::TooLong { length }));
    }

    #[test]
    fn repository_cannot_smuggle_in_a_program_or_an_option() {
        for good in [
            "https://example.com/a.git",
            "ssh://git@example.com:22/a",
            "file:///srv/a",
        ] {
            assert!(GitUrl::new(good).is_ok(), "{good}");
        }
        for bad in [
            "ext::sh -c id",
            "ext://sh",
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/a",
            "ssh://git@-oProxyCommand=id/a",
            "git@example.com:a",
            "fd::7",
        ] {
            assert!(GitUrl::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn printed_address_has_no_token() {
        let url = PayloadUrl::new("https://u:p@example.com/a/b.zip?sig=SECRET#frag").expect("good");
        assert_eq!(url.to_string(), "https://example.com/a/b.zip?***");
        assert_eq!(
            format!("{url:?}"),
            "PayloadUrl(https://example.com/a/b.zip?***)"
        );
        assert_eq!(url.scheme(), "https");
        let plain = PayloadUrl::new("file:///tmp/a").expect("good");
        assert_eq!(plain.to_string(), "file:///tmp/a");
    }

    #[test]
    fn commit_is_a_full_name() {
        let name = "0123456789ABCDEF0123456789abcdef01234567";
        assert_eq!(
            Commit::new(name).expect("good").as_str(),
            name.to_ascii_lowercase()
        );
        assert!(Commit::new(&"a".repeat(64)).is_ok());
        for bad in [
            "main",
            "0123456",
            "",
            &"a".repeat(41),
            &"g".repeat(40),
            "--exec",
        ] {
            assert!(Commit::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Commit::new(&"é".repeat(500))
                .expect_err("bad")
                .text
                .chars()
                .count(),
            80
        );
    }

    #[test]
    fn digest_errors_say_where() {
        assert_eq!(
            "ab".parse::<Sha256>(),
            Err(Sha256Error::Length { length: 2 })
        );
        let odd = format!("{}g", "a".repeat(63));
        assert_eq!(
            odd.parse::<Sha256>(),
            Err(Sha256Error::Digit { position: 63 })
        );
        let wide = "é".repeat(32);
        assert_eq!(
            wide.parse::<Sha256>(),
            Err(Sha256Error::Digit { position: 0 })
        );
    }

    proptest! {
        #[test]
        fn digest_round_trips(bytes: [u8; 32]) {
            let digest = Sha256(bytes);
            prop_assert_eq!(digest.to_string().parse::<Sha256>(), Ok(digest));
            prop_assert_eq!(digest.to_string().to_uppercase().parse::<Sha256>(), Ok(digest));
        }

        #[test]
        fn address_never_prints_what_follows_the_question_mark(
            user in "[a-z]{0,4}", path in "[a-z/]{0,6}", query in "[a-zA-Z0-9=&]{1,12}",
        ) {
            let text = format!("https://{user}:TOKEN@example.com/{path}?{query}TOKEN");
            let url = PayloadUrl::new(text).expect("good");
            let printed = format!("{url} {url:?}");
            prop_assert!(!printed.contains("TOKEN"), "{}", printed);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,64}|(https?|file|ssh)://.{0,32}") {
            if let Ok(url) = PayloadUrl::new(text.as_str()) {
                prop_assert!(url.to_string().len() <= text.len() + 4);
            }
            let _ = GitUrl::new(text);
        }
    }
}
