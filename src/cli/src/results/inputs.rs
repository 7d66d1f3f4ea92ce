//! Which files the arguments mean, each once and in the order of the arguments.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use helix_results::{DiscoverLimits, FileNames, Found, Limits, discover};
use walkdir::WalkDir;

use super::ResultsError;

/// Entries of directories that one pattern looks at.
const MOST_ENTRIES: usize = 200_000;

/// Directory levels that `**` crosses.
const MOST_LEVELS: usize = 64;

/// The files to read, and what is no file to read.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) files: Vec<Input>,
    /// What results may be missing for, as sentences.
    pub(super) missing: Vec<String>,
    /// What was passed over for good reasons, as sentences.
    pub(super) passed_over: Vec<String>,
    seen: HashSet<(u64, u64)>,
}

/// One thing to read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A regular file that was named.
    Path(PathBuf),
    /// One that was found below a directory.
    Found(Box<Found>),
    /// Something that can be read once only.
    Stream(Stream),
    /// What such a thing gave.
    Kept(File),
}

#[derive(Debug)]
enum Stream {
    StandardInput,
    /// A pipe with a name.
    Path(PathBuf),
}

impl Inputs {
    /// Finds out what `paths` mean.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Self, ResultsError> {
        let mut inputs = Self::default();
        let mut standard_input = false;
        for path in paths {
            if path.as_os_str() == "-" {
                if !standard_input {
                    inputs.add(
                        "standard input".to_owned(),
                        Place::Stream(Stream::StandardInput),
                    );
                }
                standard_input = true;
                continue;
            }
            match fs::metadata(path) {
                Ok(metadata) => inputs.named(path, &metadata),
                Err(error) => match base_of_pattern(path) {
                    Some((base, levels)) => inputs.pattern(path, &base, levels)?,
                    None => inputs.missing.push(absent(path, &error)),
                },
            }
        }
        Ok(inputs)
    }

    fn add(&mut self, name: String, place: Place) {
        self.files.push(Input { name, place });
    }

    /// Whether a file is seen for the first time.
    fn is_new(&mut self, metadata: &Metadata) -> bool {
        self.seen.insert((metadata.dev(), metadata.ino()))
    }

    fn named(&mut self, path: &Path, metadata: &Metadata) {
        if metadata.is_dir() {
            return self.directory(path);
        }
        if !self.is_new(metadata) {
            return;
        }
        let name = path.display().to_string();
        if metadata.is_file() {
            self.add(name, Place::Path(path.to_owned()));
        } else {
            self.add(name, Place::Stream(Stream::Path(path.to_owned())));
        }
    }

    fn directory(&mut self, path: &Path) {
        // The walk follows no link, but the one that a person named is meant.
        let root = if path.is_symlink() {
            fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
        } else {
            path.to_owned()
        };
        let mut limits = DiscoverLimits::default();
        limits.names = FileNames::Common;
        let discovery = match discover(&[&root], &limits) {
            Ok(discovery) => discovery,
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                return self.missing.push(format!("{error}{cause}"));
            }
        };
        if discovery.files.is_empty() {
            self.missing.push(format!(
                "no result file below `{}`; `helix results --help` says which names are looked for",
                path.display()
            ));
        }
        for found in discovery.files {
            match found.open().and_then(|file| file.metadata()) {
                Ok(metadata) if self.is_new(&metadata) => {
                    self.add(
                        found.path.display().to_string(),
                        Place::Found(Box::new(found)),
                    );
                }
                Ok(_) => {}
                Err(error) => self
                    .missing
                    .push(format!("cannot read `{}`: {error}", found.path.display())),
            }
        }
        let links = discovery.links;
        let others = discovery
            .passed_over
            .into_iter()
            .filter(|line| !links.contains(line));
        self.missing.extend(others);
        self.passed_over.extend(links);
        if discovery.passed_over_unlisted > 0 {
            self.missing.push(format!(
                "{} more were passed over",
                discovery.passed_over_unlisted
            ));
        }
    }

    fn pattern(&mut self, pattern: &Path, base: &Path, levels: usize) -> Result<(), ResultsError> {
        let matcher = matcher(pattern)?;
        let before = self.files.len();
        let mut matched = 0_usize;
        let walk = WalkDir::new(base)
            .max_depth(levels)
            .sort_by_file_name()
            .into_iter();
        for (number, entry) in walk.enumerate() {
            if number >= MOST_ENTRIES {
                self.missing.push(format!(
                    "`{}` looks at more than {MOST_ENTRIES} files; the rest was not looked at",
                    pattern.display()
                ));
                break;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.missing.push(format!(
                        "cannot look through `{}`: {error}",
                        pattern.display()
                    ));
                    continue;
                }
            };
            let path = entry.path();
            let path = path.strip_prefix("./").unwrap_or(path);
            if !matcher.is_match(path) {
                continue;
            }
            if entry.file_type().is_symlink() {
                self.passed_over.push(format!(
                    "`{}`: is a link, and patterns follow none",
                    path.display()
                ));
            } else if entry.file_type().is_file() {
                matched += 1;
                match entry.metadata() {
                    Ok(metadata) => {
                        if self.is_new(&metadata) {
                            self.add(path.display().to_string(), Place::Path(path.to_owned()));
                        }
                    }
                    Err(error) => self
                        .missing
                        .push(format!("cannot read `{}`: {error}", path.display())),
                }
            }
        }
        if matched == 0 && self.files.len() == before {
            self.missing
                .push(format!("no file fits `{}`", pattern.display()));
        }
        Ok(())
    }

    /// Makes everything readable twice.
    pub(super) fn keep_streams(&mut self) {
        for input in &mut self.files {
            if let Place::Stream(stream) = &input.place {
                match stream.open().and_then(keep) {
                    Ok(file) => input.place = Place::Kept(file),
                    Err(error) => self
                        .missing
                        .push(format!("cannot read {}: {error}", input.name)),
                }
            }
        }
        self.files
            .retain(|input| !matches!(input.place, Place::Stream(_)));
    }
}

impl Input {
    /// Opens it; a stream can be opened once.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match &self.place {
            Place::Path(path) => Box::new(File::open(path)?),
            Place::Found(found) => Box::new(found.open()?),
            Place::Stream(stream) => stream.open()?,
            Place::Kept(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Box::new(file)
            }
        })
    }
}

impl Stream {
    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::StandardInput => Box::new(io::stdin().lock()),
            Self::Path(path) => Box::new(File::open(path)?),
        })
    }
}

/// What is said of a path that leads nowhere.
fn absent(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    let may_be_a_job = error.kind() == io::ErrorKind::NotFound
        && path.components().count() == 1
        && path.extension().is_none();
    if may_be_a_job {
        format!("cannot read `{name}`: {error}; of a job: `helix results --job {name}`")
    } else {
        format!("cannot read `{name}`: {error}")
    }
}

/// A file without a name that holds what a stream gave, as far as it would be read.
fn keep(stream: Box<dyn Read>) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let most = Limits::default().file_bytes + 1;
    io::copy(&mut stream.take(most), &mut file)?;
    Ok(file)
}

/// The directory that a pattern begins in, and how many levels below it can fit. `None` for what is no pattern.
fn base_of_pattern(path: &Path) -> Option<(PathBuf, usize)> {
    let is_special = |component: &Component<'_>| {
        let bytes = component.as_os_str().as_encoded_bytes();
        bytes.iter().any(|byte| b"*?[{".contains(byte))
    };
    let components: Vec<Component<'_>> = path.components().collect();
    let first = components.iter().position(is_special)?;
    let (plain, special) = components.split_at(first);
    let base: PathBuf = plain.iter().collect();
    let crosses = special
        .iter()
        .any(|component| component.as_os_str() == "**");
    // A choice may hold separators, which makes components of its halves.
    let levels = if crosses || path.to_string_lossy().contains('{') {
        MOST_LEVELS
    } else {
        special.len()
    };
    let base = if base.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        base
    };
    Some((base, levels))
}

fn matcher(pattern: &Path) -> Result<GlobMatcher, ResultsError> {
    let text = pattern
        .to_str()
        .ok_or_else(|| ResultsError::PatternNotText {
            pattern: pattern.to_owned(),
        })?;
    // The walk gives paths without needless dots, and the pattern must look alike.
    let text = text.strip_prefix("./").unwrap_or(text);
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|source| ResultsError::Pattern {
            pattern: pattern.to_owned(),
            source,
        })?;
    Ok(glob.compile_matcher())
}
