//! The cache on disk: which file is where, and what is written into the small ones.
//!
//! ```text
//! lock                    held by the process that uses the cache
//! archives/<sha256>       whole archives; the time of modification is that of the last use
//! partial/<key>.partial   half archives
//! partial/<key>.note      what the server said of the content of that half
//! answers/<key>           which archive a source without a SHA-256 gave, and how to ask it again
//! trash/                  on its way out
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use crate::digest::{Hasher, Sha256};
use crate::error::Error;
use crate::http::Validators;
use crate::source::{ArchiveSource, HttpUrl};

use super::options::Scope;

/// Longest small file that is read back; ours are a few hundred bytes.
const MAX_NOTE_BYTES: u64 = 16 << 10;

/// What one download is for: callers with the same key share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Content that is known beforehand, wherever it comes from.
    Digest(Sha256),
    /// Whatever a source gives to a scope.
    Answer(AnswerKey),
}

/// A scope and a source together, without the secrets of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AnswerKey(Sha256);

/// The address content came from, as far as it names a place: without query, user and password, so
/// that the next signature for the same blob continues where the last one stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(Sha256);

/// What is known of the content of a half archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) place: Place,
    pub(super) validators: Validators,
}

/// What a source without a SHA-256 gave, and how to find out whether it still would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownAnswer {
    pub(super) sha256: Sha256,
    pub(super) proof: Proof,
}

/// How to find out whether a source still gives the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The server is asked.
    Server(Validators),
    /// The file is looked at.
    File(FileIdentity),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a scan of the directory found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whole archives, the least recently used first.
    pub(super) archives: Vec<(Sha256, u64)>,
    /// Half archives that can be continued, the least recently used first.
    pub(super) partials: Vec<(Key, u64)>,
    pub(super) answers: Vec<(AnswerKey, KnownAnswer)>,
}

#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes what is missing of the directories below `root`.
    pub(super) fn create(root: &Path) -> Result<Self, Error> {
        let layout = Self {
            root: root.to_path_buf(),
        };
        for directory in [
            layout.archives(),
            layout.partials(),
            layout.answers(),
            layout.trash(),
        ] {
            // Payloads are nobody else's business.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(|error| Error::io("create", &directory, error))?;
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    pub(super) fn archive(&self, sha256: &Sha256) -> PathBuf {
        self.archives().join(sha256.to_string())
    }

    pub(super) fn partial(&self, key: &Key) -> PathBuf {
        self.partials().join(format!("{key}.partial"))
    }

    pub(super) fn note(&self, key: &Key) -> PathBuf {
        self.partials().join(format!("{key}.note"))
    }

    pub(super) fn answer(&self, key: &AnswerKey) -> PathBuf {
        self.answers().join(key.0.to_string())
    }

    pub(super) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn answers(&self) -> PathBuf {
        self.root.join("answers")
    }

    /// Takes in what an earlier process left, and deletes what is of no use.
    pub(super) fn scan(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        for entry in list(&self.trash())? {
            delete(&entry.path)?;
        }

        let mut archives = Vec::new();
        for entry in list(&self.archives())? {
            match (entry.name.parse::<Sha256>(), &entry.metadata) {
                (Ok(sha256), metadata) if metadata.is_file() => {
                    archives.push((used(metadata), sha256, metadata.len()));
                }
                _ => delete(&entry.path)?,
            }
        }
        archives.sort_by_key(|(used, ..)| *used);
        found.archives = archives
            .into_iter()
            .map(|(_, sha256, bytes)| (sha256, bytes))
            .collect();

        let mut partials = Vec::new();
        for entry in list(&self.partials())? {
            // A half archive is only continued in another process when the whole can be checked at
            // the end: after a crash of the machine, its last bytes may be there in name only.
            let key = entry
                .name
                .strip_suffix(".partial")
                .and_then(|key| key.parse::<Key>().ok());
            let note = entry
                .name
                .strip_suffix(".note")
                .and_then(|key| key.parse::<Key>().ok());
            match (key, note) {
                (Some(key @ Key::Digest(_)), _)
                    if entry.metadata.len() > 0 && self.read_note(&key).is_some() =>
                {
                    partials.push((used(&entry.metadata), key, entry.metadata.len()));
                }
                (_, Some(key @ Key::Digest(_))) if self.partial(&key).exists() => {}
                _ => delete(&entry.path)?,
            }
        }
        partials.sort_by_key(|(used, ..)| *used);
        found.partials = partials
            .into_iter()
            .map(|(_, key, bytes)| (key, bytes))
            .collect();

        for entry in list(&self.answers())? {
            let key = entry.name.parse().map(AnswerKey).ok();
            let answer = read_small(&entry.path).and_then(|text| KnownAnswer::parse(&text));
            match (key, answer) {
                (Some(key), Some(answer)) if self.archive(&answer.sha256).exists() => {
                    found.answers.push((key, answer));
                }
                _ => delete(&entry.path)?,
            }
        }
        Ok(found)
    }

    pub(super) fn read_note(&self, key: &Key) -> Option<Note> {
        Note::parse(&read_small(&self.note(key))?)
    }

    pub(super) fn write_note(&self, key: &Key, note: &Note) -> Result<(), Error> {
        write_small(&self.note(key), &note.text())
    }

    pub(super) fn write_answer(&self, key: &AnswerKey, answer: &KnownAnswer) -> Result<(), Error> {
        write_small(&self.answer(key), &answer.text())
    }
}

impl AnswerKey {
    pub(super) fn new(scope: &Scope, source: &ArchiveSource) -> Self {
        let mut hasher = Hasher::default();
        // The length in front keeps a scope from reaching into the address.
        hasher.update(&(scope.as_str().len() as u64).to_le_bytes());
        hasher.update(scope.as_str().as_bytes());
        match source {
            ArchiveSource::Http(url) => hasher.update(url.expose().as_str().as_bytes()),
            ArchiveSource::File(path) => {
                hasher.update(b"file:");
                hasher.update(path.as_os_str().as_encoded_bytes());
            }
        }
        Self(hasher.finish())
    }
}

impl Place {
    pub(super) fn of(url: &HttpUrl) -> Self {
        Self(Sha256::of(url.to_string().as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(sha256) => write!(formatter, "d-{sha256}"),
            Self::Answer(AnswerKey(hash)) => write!(formatter, "a-{hash}"),
        }
    }
}

impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, hash) = text.split_once('-').ok_or(())?;
        let hash = hash.parse().map_err(|_| ())?;
        match kind {
            "d" => Ok(Self::Digest(hash)),
            "a" => Ok(Self::Answer(AnswerKey(hash))),
            _ => Err(()),
        }
    }
}

impl Note {
    fn text(&self) -> String {
        format!(
            "place {}\n{}",
            self.place.0,
            validator_lines(&self.validators)
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let place = Place(line(text, "place")?.parse().ok()?);
        Some(Self {
            place,
            validators: parse_validators(text),
        })
    }
}

impl KnownAnswer {
    fn text(&self) -> String {
        let proof = match &self.proof {
            Proof::Server(validators) => validator_lines(validators),
            Proof::File(identity) => {
                let FileIdentity {
                    device,
                    inode,
                    bytes,
                    modified,
                    changed,
                } = identity;
                format!(
                    "file {device} {inode} {bytes} {} {} {} {}\n",
                    modified.0, modified.1, changed.0, changed.1
                )
            }
        };
        format!("sha256 {}\n{proof}", self.sha256)
    }

    fn parse(text: &str) -> Option<Self> {
        let sha256 = line(text, "sha256")?.parse().ok()?;
        let proof = match line(text, "file") {
            Some(identity) => Proof::File(FileIdentity::parse(identity)?),
            None => {
                let validators = parse_validators(text);
                if !validators.allow_question() {
                    return None;
                }
                Proof::Server(validators)
            }
        };
        Some(Self { sha256, proof })
    }
}

impl FileIdentity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut signed = || words.next()?.parse::<i128>().ok();
        let unsigned = |number: Option<i128>| u64::try_from(number?).ok();
        let (device, inode, bytes) = (signed(), signed(), signed());
        let mut time = || {
            let seconds = i64::try_from(signed()?).ok()?;
            Some((seconds, i64::try_from(signed()?).ok()?))
        };
        let (modified, changed) = (time()?, time()?);
        Some(Self {
            device: unsigned(device)?,
            inode: unsigned(inode)?,
            bytes: unsigned(bytes)?,
            modified,
            changed,
        })
    }
}

fn validator_lines(validators: &Validators) -> String {
    let mut lines = String::new();
    for (word, value) in [
        ("etag", &validators.etag),
        ("last-modified", &validators.last_modified),
    ] {
        if let Some(value) = value {
            lines.push_str(&format!("{word} {value}\n"));
        }
    }
    lines
}

fn parse_validators(text: &str) -> Validators {
    Validators {
        etag: line(text, "etag").map(str::to_owned),
        last_modified: line(text, "last-modified").map(str::to_owned),
    }
}

/// The rest of the line that begins with `word`.
fn line<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
}

struct Entry {
    name: String,
    path: PathBuf,
    metadata: fs::Metadata,
}

fn list(directory: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |error| Error::io("list", directory, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path: entry.path(),
            metadata: entry.metadata().map_err(failed)?,
        });
    }
    Ok(entries)
}

fn used(metadata: &fs::Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Deletes a file; whatever else got in here is not ours to delete.
fn delete(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("delete", path, error)),
    }
}

fn read_small(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_NOTE_BYTES {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// Writes a small file whole or not at all.
fn write_small(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators(etag: Option<&str>, last_modified: Option<&str>) -> Validators {
        Validators {
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
        }
    }

    #[test]
    fn notes_and_answers_are_read_back_as_written() {
        let sha256 = Sha256::of(b"x");
        for validators in [
            validators(Some("\"a b\""), Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            validators(Some("W/\"x\""), None),
        ] {
            let note = Note {
                place: Place(sha256),
                validators: validators.clone(),
            };
            assert_eq!(Note::parse(&note.text()), Some(note));
            let answer = KnownAnswer {
                sha256,
                proof: Proof::Server(validators),
            };
            assert_eq!(KnownAnswer::parse(&answer.text()), Some(answer));
        }
        let identity = FileIdentity {
            device: u64::MAX,
            inode: 2,
            bytes: 3,
            modified: (-4, 5),
            changed: (i64::MAX, 0),
        };
        let answer = KnownAnswer {
            sha256,
            proof: Proof::File(identity),
        };
        assert_eq!(KnownAnswer::parse(&answer.text()), Some(answer));
    }

    #[test]
    fn damaged_answers_are_no_answers() {
        let sha256 = Sha256::of(b"x");
        for text in [
            String::new(),
            format!("sha256 {sha256}\n"),
            format!("sha256 {sha256}\nfile 1 2 3\n"),
            format!("sha256 {sha256}\nfile -1 2 3 4 5 6 7\n"),
            "sha256 0\netag x\n".to_owned(),
            "etag x\n".to_owned(),
        ] {
            assert_eq!(KnownAnswer::parse(&text), None, "{text:?}");
        }
        assert_eq!(Note::parse("etag x\n"), None);
    }

    #[test]
    fn keys_tell_scopes_and_addresses_apart() {
        let source = |text: &str| ArchiveSource::parse(text).unwrap();
        let key = |scope: &str, text: &str| AnswerKey::new(&Scope::new(scope), &source(text));
        let one = key("job", "https://a.example/x?sig=1");
        assert_eq!(one, key("job", "https://a.example/x?sig=1"));
        for other in [
            key("other", "https://a.example/x?sig=1"),
            key("job", "https://a.example/x?sig=2"),
            key("job", "https://a.example/y?sig=1"),
            key("job", "https://u@a.example/x?sig=1"),
            key("jobhttps:", "//a.example/x"),
        ] {
            assert_ne!(one, other);
        }
        let place = |text: &str| Place::of(&text.parse().unwrap());
        assert_eq!(
            place("https://a.example/x?sig=1"),
            place("https://u:p@a.example/x?sig=2")
        );
        assert_ne!(place("https://a.example/x"), place("https://b.example/x"));
    }
}
