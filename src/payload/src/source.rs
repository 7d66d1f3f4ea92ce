//! Where a payload comes from: an address parsed once, at the edge, into a type.
//!
//! Addresses carry secrets: the query of a signed blob URL, or a user and password. The types here
//! show themselves (`Display` and `Debug`) without either, so that no caller can leak one by
//! logging what it was given; the whole address leaves only towards the server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

/// Where a payload comes from.
///
/// Read from text by [`Source::parse`]:
///
/// | text | meaning |
/// |---|---|
/// | `https://host/a.zip?sig=…`, `http://…` | an archive to download |
/// | `/srv/a.zip`, `file:///srv/a.zip` | an archive on this machine |
/// | `git+https://host/repo.git#<commit>` | that commit; also `git+http`, `git+ssh`, `git+file` |
/// | `git+https://host/repo.git#<commit>&submodules` | the same with its submodules |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One file that is (usually) an archive.
    Archive(ArchiveSource),
    /// One commit of a git repository.
    Git(GitSource),
}

/// Where an archive comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ArchiveSource {
    /// Downloaded over HTTP or HTTPS.
    Http(HttpUrl),
    /// Read from this absolute path of this machine.
    File(PathBuf),
}

/// An `http` or `https` address, shown without its query, fragment, user and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl(Arc<Url>);

/// One commit of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// The repository.
    pub url: GitUrl,
    /// The commit to check out.
    pub commit: Commit,
    /// Whether the repositories it names as submodules are checked out with it.
    pub submodules: Submodules,
}

/// The address of a git repository (`https`, `http`, `ssh` or `file`), shown without its query,
/// fragment, user and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GitUrl(Arc<Url>);

/// The full name of a git commit: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits, in lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Commit(String);

/// Whether submodules are checked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Submodules {
    /// Their directories stay empty.
    #[default]
    Skip,
    /// They are checked out, and theirs in turn.
    Recurse,
}

/// A text that names no payload. None of the messages repeats a part that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing was given.
    #[error("the payload source is empty")]
    Empty,
    /// The text is neither an address with a scheme nor an absolute path.
    #[error(
        "the payload source is neither a URL nor an absolute path (write `https://…`, `file:///…`, `/…` or `git+https://…#<commit>`)"
    )]
    NotAnAddress,
    /// The URL does not parse.
    #[error("the payload URL is malformed: {reason}")]
    Malformed {
        /// What the URL parser objects to.
        reason: &'static str,
    },
    /// A scheme that cannot be fetched.
    #[error(
        "payloads cannot be fetched with the scheme `{scheme}` (only http, https, file, and git+https, git+http, git+ssh, git+file)"
    )]
    UnsupportedScheme {
        /// The scheme, cut to 32 characters.
        scheme: String,
    },
    /// The URL names no host.
    #[error("the payload URL names no host")]
    NoHost,
    /// A `file` URL of another machine.
    #[error("a file URL must name a path of this machine (`file:///path`), not the host `{host}`")]
    ForeignFile {
        /// The host that was named.
        host: String,
    },
    /// A path that is relative, or contains a NUL byte.
    #[error("a payload path must be absolute and free of NUL bytes")]
    BadPath,
    /// A git source without a commit.
    #[error("a git source must name its commit: `…#<40 or 64 hexadecimal digits>`")]
    NoCommit,
    /// A commit that is not the full name of one. Branches and tags move, so they are refused.
    #[error(
        "a git commit must be its full name, 40 or 64 hexadecimal digits, not a branch, tag or abbreviation"
    )]
    BadCommit,
    /// A word after the commit that means nothing.
    #[error("the only option of a git source is `submodules`: `…#<commit>&submodules`")]
    UnknownGitOption,
    /// Some part of the address begins with a dash and could be taken for an option.
    #[error("no part of a git address may begin with `-`")]
    LooksLikeOption,
}

impl Source {
    /// Reads a source from `text`; the table at [`Source`] lists the forms.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        match text.strip_prefix("git+") {
            Some(git) => GitSource::parse(git).map(Self::Git),
            None => ArchiveSource::parse(text).map(Self::Archive),
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(archive) => archive.fmt(formatter),
            Self::Git(git) => git.fmt(formatter),
        }
    }
}

impl ArchiveSource {
    /// Reads the address of an archive: `http`, `https`, `file` or an absolute path.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.starts_with('/') {
            return absolute_path(PathBuf::from(text)).map(Self::File);
        }
        let url = parse_url(text)?;
        match url.scheme() {
            "http" | "https" => HttpUrl::new(url).map(Self::Http),
            "file" => file_path(&url).map(Self::File),
            scheme => Err(unsupported(scheme)),
        }
    }
}

impl fmt::Display for ArchiveSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(formatter),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl HttpUrl {
    fn new(url: Url) -> Result<Self, SourceError> {
        match url.host_str() {
            Some(host) if !host.is_empty() => Ok(Self(Arc::new(url))),
            _ => Err(SourceError::NoHost),
        }
    }

    /// The whole address, secrets included: for the request itself and for cache keys only.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        match ArchiveSource::parse(text.trim())? {
            ArchiveSource::Http(url) => Ok(url),
            ArchiveSource::File(_) => Err(unsupported("file")),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_url(&self.0, formatter)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpUrl({self})")
    }
}

impl GitSource {
    /// Reads `<url>#<commit>` with an optional `&submodules` behind it (without the `git+`).
    fn parse(text: &str) -> Result<Self, SourceError> {
        let (url, fragment) = text.split_once('#').ok_or(SourceError::NoCommit)?;
        let mut words = fragment.split('&');
        let commit = words.next().unwrap_or_default();
        if commit.is_empty() {
            return Err(SourceError::NoCommit);
        }
        let mut submodules = Submodules::Skip;
        for word in words {
            match word {
                "submodules" => submodules = Submodules::Recurse,
                _ => return Err(SourceError::UnknownGitOption),
            }
        }
        Ok(Self {
            url: url.parse()?,
            commit: commit.parse()?,
            submodules,
        })
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "git+{}#{}", self.url, self.commit)
    }
}

impl GitUrl {
    /// The whole address, secrets included: for the request itself only.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }
}

impl FromStr for GitUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(SourceError::LooksLikeOption);
        }
        if text.starts_with('/') {
            let path = absolute_path(PathBuf::from(text))?;
            return Url::from_file_path(path)
                .map(|url| Self(Arc::new(url)))
                .map_err(|()| SourceError::BadPath);
        }
        let url = parse_url(text)?;
        match url.scheme() {
            "http" | "https" | "ssh" => {
                let host = url.host_str().unwrap_or_default();
                if host.is_empty() {
                    return Err(SourceError::NoHost);
                }
                // `ssh` takes its host and user as words of a command line, and the far side
                // takes the path as one.
                let user = url.username();
                if [host, user, url.path().trim_start_matches('/')]
                    .iter()
                    .any(|part| {
                        part.starts_with('-') || part.to_ascii_lowercase().starts_with("%2d")
                    })
                {
                    return Err(SourceError::LooksLikeOption);
                }
                Ok(Self(Arc::new(url)))
            }
            "file" => {
                file_path(&url)?;
                Ok(Self(Arc::new(url)))
            }
            scheme => Err(unsupported(scheme)),
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_url(&self.0, formatter)
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GitUrl({self})")
    }
}

impl Commit {
    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Commit {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let whole = matches!(text.len(), 40 | 64);
        if !whole || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SourceError::BadCommit);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Commit({self})")
    }
}

/// Writes `url` without anything that may be a secret.
pub(crate) fn show_url(url: &Url, formatter: &mut impl fmt::Write) -> fmt::Result {
    write!(
        formatter,
        "{}://{}",
        url.scheme(),
        url.host_str().unwrap_or_default()
    )?;
    if let Some(port) = url.port() {
        write!(formatter, ":{port}")?;
    }
    formatter.write_str(url.path())
}

fn parse_url(text: &str) -> Result<Url, SourceError> {
    // The parser takes `C:\x` for a URL of scheme `c` and `host:80/x` for one of scheme `host`.
    let scheme_length = text.find("://").ok_or(SourceError::NotAnAddress)?;
    if scheme_length < 2 || text.contains('\0') {
        return Err(SourceError::NotAnAddress);
    }
    // Its messages are fixed texts, but it has no name for them; the variants that matter are few.
    Url::parse(text).map_err(|error| SourceError::Malformed {
        reason: match error.to_string().as_str() {
            "empty host" => "it names no host",
            "invalid port number" => "its port is not a number from 0 to 65535",
            "invalid IPv4 address" => "its host is not a valid IPv4 address",
            "invalid IPv6 address" => "its host is not a valid IPv6 address",
            "invalid domain character" => "its host contains a forbidden character",
            "invalid international domain name" => "its host is not a valid domain name",
            _ => "it is not a URL",
        },
    })
}

fn unsupported(scheme: &str) -> SourceError {
    SourceError::UnsupportedScheme {
        scheme: scheme.chars().take(32).collect(),
    }
}

fn file_path(url: &Url) -> Result<PathBuf, SourceError> {
    match url.host_str() {
        None | Some("" | "localhost") => {}
        Some(host) => {
            return Err(SourceError::ForeignFile {
                host: host.to_owned(),
            });
        }
    }
    absolute_path(url.to_file_path().map_err(|()| SourceError::BadPath)?)
}

fn absolute_path(path: PathBuf) -> Result<PathBuf, SourceError> {
    let has_nul = path.as_os_str().as_encoded_bytes().contains(&0);
    if has_nul || !path.is_absolute() || path == Path::new("/") {
        return Err(SourceError::BadPath);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn check(text: &str, expected: Result<&str, SourceError>) {
        let found = Source::parse(text).map(|source| source.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn source_of_each_form_is_read_and_shown_without_secrets() {
        check(
            "https://a.example/x/y.zip?sv=1&sig=SECRET#frag",
            Ok("https://a.example/x/y.zip"),
        );
        check(
            "http://user:SECRET@a.example:8080/x",
            Ok("http://a.example:8080/x"),
        );
        check("  https://a.example/x\n", Ok("https://a.example/x"));
        check("/srv/a b.zip", Ok("/srv/a b.zip"));
        check("file:///srv/a%20b.zip", Ok("/srv/a b.zip"));
        check("file://localhost/srv/a.zip", Ok("/srv/a.zip"));
        check(
            &format!(
                "git+https://SECRET@a.example/r.git?SECRET#{}&submodules",
                COMMIT.to_uppercase()
            ),
            Ok(&format!("git+https://a.example/r.git#{COMMIT}")),
        );
        check(
            &format!("git+/srv/repo#{COMMIT}"),
            Ok(&format!("git+file:///srv/repo#{COMMIT}")),
        );
    }

    #[test]
    fn source_that_cannot_be_fetched_is_refused_with_its_reason() {
        check("", Err(SourceError::Empty));
        check("a.zip", Err(SourceError::NotAnAddress));
        check("../a.zip", Err(SourceError::NotAnAddress));
        check(r"C:\a.zip", Err(SourceError::NotAnAddress));
        check(
            "ftp://a.example/x",
            Err(SourceError::UnsupportedScheme {
                scheme: "ftp".into(),
            }),
        );
        check("ext::sh -c x", Err(SourceError::NotAnAddress));
        check(
            "https://",
            Err(SourceError::Malformed {
                reason: "it names no host",
            }),
        );
        check(
            "file://server/x",
            Err(SourceError::ForeignFile {
                host: "server".into(),
            }),
        );
        check("/srv/\0", Err(SourceError::BadPath));
        check("file:///srv/%00", Err(SourceError::BadPath));
        check("/", Err(SourceError::BadPath));
    }

    #[test]
    fn git_source_with_a_moving_name_or_an_option_in_it_is_refused() {
        let git = |rest: &str| format!("git+https://a.example/r.git{rest}");
        check(&git(""), Err(SourceError::NoCommit));
        check(&git("#"), Err(SourceError::NoCommit));
        check(&git("#main"), Err(SourceError::BadCommit));
        check(&git("#--upload-pack=x"), Err(SourceError::BadCommit));
        check(&git(&format!("#{COMMIT}0")), Err(SourceError::BadCommit));
        check(
            &git(&format!("#{COMMIT}&depth=2")),
            Err(SourceError::UnknownGitOption),
        );
        for url in [
            "-c",
            "ssh://-oProxyCommand=x/y",
            "ssh://-x@a.example/y",
            "ssh://a.example/-y",
        ] {
            let found = Source::parse(&format!("git+{url}#{COMMIT}"));
            assert!(
                matches!(
                    found,
                    Err(SourceError::LooksLikeOption | SourceError::Malformed { .. })
                ),
                "{url}: {found:?}"
            );
        }
        check(
            &format!("git+ext://sh/x#{COMMIT}"),
            Err(SourceError::UnsupportedScheme {
                scheme: "ext".into(),
            }),
        );
    }

    #[test]
    fn debug_output_of_a_source_holds_no_secret() {
        let secret = "hunter2";
        for text in [
            format!("https://u:{secret}@a.example/x?sig={secret}#{secret}"),
            format!("git+https://u:{secret}@a.example/x?sig={secret}#{COMMIT}"),
        ] {
            let shown = format!("{:?}", Source::parse(&text).unwrap());
            assert!(
                shown.contains("a.example/x") && !shown.contains(secret),
                "{shown}"
            );
        }
    }

    #[test]
    fn errors_about_a_source_hold_no_secret() {
        let secret = "hunter2";
        for text in [
            format!("https://u:{secret}@/x?sig={secret}"),
            format!("https://u:{secret}@a.example:99999/x?sig={secret}"),
            format!("{secret}.zip"),
            format!("git+https://a.example/{secret}"),
            format!("git+https://a.example/x#{secret}"),
        ] {
            let error = Source::parse(&text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
}
