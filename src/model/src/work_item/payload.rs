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
/// Printing it leaves out user, password and query, which often hold a token; [`PayloadUrl::as_str`] is whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadUrl(String);

/// The address of a repository: `http`, `https`, `ssh` or `file`.
///
/// The other transports that git knows could run programs of the sender's choice in the agent's name.
/// Printing it leaves out user, password and query; [`GitUrl::as_str`] is whole.
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
