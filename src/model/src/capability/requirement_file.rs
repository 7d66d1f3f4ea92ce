//! Requirements read out of files that projects carry anyway.

use std::collections::BTreeMap;

use super::global_json::{SdkEntry, read_sdk_entry};
use super::{CapabilityName, Requirement, Wanted};
use crate::version::{Version, VersionRange};

/// The largest file that is read, in bytes. Real ones have a few hundred.
pub const MAX_REQUIREMENT_FILE_BYTES: usize = 64 * 1024;

/// A kind of file, and which capabilities it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequirementFile {
    /// Versions and nothing else: `.xcode-version`, `.python-version`, `.node-version`. Several of
    /// them are alternatives; `#` starts a comment.
    Version {
        /// What the version is of.
        capability: CapabilityName,
    },
    /// `global.json` of the .NET SDK: `sdk.version`, widened as `sdk.rollForward` says. Pre-releases
    /// count unless `sdk.allowPrerelease` is false, as for the SDK itself.
    GlobalJson {
        /// What the SDK's version is of.
        capability: CapabilityName,
    },
    /// `.tool-versions` of asdf and mise: a tool and its versions on each line. Several versions
    /// are alternatives, as both programs take the first that is installed.
    ToolVersions {
        /// Which capability each tool's name stands for; other tools are passed over.
        capabilities: BTreeMap<String, CapabilityName>,
    },
}

/// A file that cannot be understood. Nothing of it is used: to pass over one line might run an item
/// on the wrong tools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RequirementFileError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it, without a full stop.
    pub problem: String,
}

impl RequirementFile {
    /// What a file with this text requires; nothing if it names no version.
    ///
    /// # Errors
    ///
    /// The first line that cannot be understood.
    pub fn read(&self, text: &str) -> Result<Vec<Requirement>, RequirementFileError> {
        if text.len() > MAX_REQUIREMENT_FILE_BYTES {
            let problem = format!(
                "the file has {} bytes, the limit is {MAX_REQUIREMENT_FILE_BYTES}",
                text.len()
            );
            return Err(RequirementFileError { line: 1, problem });
        }
        // Editors on Windows put a mark in front that is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Version { capability } => {
                let words =
                    lines(text).flat_map(|(line, words)| words.map(move |word| (line, word)));
                Ok(requirement(capability, words)?.into_iter().collect())
            }
            Self::GlobalJson { capability } => {
                let wanted = sdk_range(&read_sdk_entry(text)?)?.map(Wanted::Range);
                Ok(wanted
                    .map(|wanted| Requirement {
                        name: capability.clone(),
                        wanted,
                    })
                    .into_iter()
                    .collect())
            }
            Self::ToolVersions { capabilities } => {
                let mut requirements = Vec::new();
                for (line, mut words) in lines(text) {
                    let Some(capability) = words.next().and_then(|tool| capabilities.get(tool))
                    else {
                        continue;
                    };
                    let words = words.map(|word| (line, word)).collect::<Vec<_>>();
                    if words.is_empty() {
                        let problem = "the tool has no version".to_owned();
                        return Err(RequirementFileError { line, problem });
                    }
                    requirements.extend(requirement(capability, words.into_iter())?);
                }
                Ok(requirements)
            }
        }
    }
}

/// The lines that are not blank, with their numbers, in words and without comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, std::str::SplitWhitespace<'_>)> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or(line))
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| (index + 1, line.split_whitespace()))
}

/// One of the alternatives for a tool.
enum Alternative {
    /// Some versions.
    Range(VersionRange),
    /// Something with a name, such as another maker's build.
    Named(String),
    /// Something that the version manager makes or finds by itself.
    NotOfTheMachine,
}

/// What alternatives require together: any of them will do.
fn requirement<'text>(
    capability: &CapabilityName,
    words: impl Iterator<Item = (usize, &'text str)>,
) -> Result<Option<Requirement>, RequirementFileError> {
    let mut range: Option<VersionRange> = None;
    let mut named: Option<(usize, String)> = None;
    for (line, word) in words {
        let next = match alternative(word, line)? {
            Alternative::Range(next) => next,
            Alternative::Named(text) => {
                named = named.or(Some((line, text)));
                continue;
            }
            // With one alternative that asks nothing of the machine nothing is asked at all.
            Alternative::NotOfTheMachine => return Ok(None),
        };
        range = Some(match range {
            Some(range) => range.or(next),
            None => next,
        });
    }
    let wanted = match (range, named) {
        (None, None) => return Ok(None),
        (Some(range), None) => Wanted::Range(range),
        (None, Some((_, text))) => Wanted::Text(text),
        (Some(_), Some((line, text))) => {
            let problem = format!("`{text}` is no version, and stands beside versions");
            return Err(RequirementFileError { line, problem });
        }
    };
    Ok(Some(Requirement {
        name: capability.clone(),
        wanted,
    }))
}

fn alternative(word: &str, line: usize) -> Result<Alternative, RequirementFileError> {
    // Prefixes of asdf and mise. `latest:20` and `prefix:20` both mean the newest of the 20s.
    let word = match word.split_once(':') {
        Some(("latest" | "prefix", version)) => version,
        Some(("ref" | "tag" | "branch" | "rev" | "path", _)) => {
            return Ok(Alternative::NotOfTheMachine);
        }
        Some(_) | None => word,
    };
    if matches!(
        word,
        "system" | "latest" | "stable" | "current" | "node" | "lts"
    ) || word.starts_with("lts/") && word.len() > 4
    {
        return Ok(Alternative::Range(VersionRange::any()));
    }
    match (VersionRange::parse(word), word.chars().next()) {
        (Ok(range), _) => Ok(Alternative::Range(range)),
        (Err(_), Some(first)) if first.is_ascii_alphabetic() && is_plain(word) => {
            Ok(Alternative::Named(word.to_owned()))
        }
        (Err(error), _) => {
            let word: String = word.chars().take(80).collect();
            let problem = format!("`{}` is no version: {error}", word.escape_debug());
            Err(RequirementFileError { line, problem })
        }
    }
}

/// Whether a word can be the text of a capability.
fn is_plain(word: &str) -> bool {
    word.len() <= super::MAX_CAPABILITY_BYTES
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/'))
}

/// The versions of the SDK that will do.
///
/// The third number of an SDK's version is its feature band in hundreds and its patch in the rest:
/// 9.0.203 is patch 3 of band 2.
fn sdk_range(entry: &SdkEntry) -> Result<Option<VersionRange>, RequirementFileError> {
    let error = |problem: String| RequirementFileError {
        line: entry.line.max(1),
        problem,
    };
    let policy = entry.roll_forward.as_deref().map(str::to_ascii_lowercase);
    let Some(text) = &entry.version else {
        return Ok(policy.is_some().then(|| match entry.allow_pre_release {
            None | Some(true) => VersionRange::any(),
            Some(false) => VersionRange::releases(),
        }));
    };
    let text: String = text.chars().take(200).collect();
    let version = Version::parse(&text)
        .map_err(|cause| error(format!("`sdk.version` {text:?} is no version: {cause}")))?;
    if version.segment_count() < 3 {
        // The SDK itself asks for all three; two say plainly enough what is meant.
        return Ok(Some(VersionRange::below(version)));
    }
    let (Some(major), Some(minor), Some(patch)) =
        (version.segment(0), version.segment(1), version.segment(2))
    else {
        return Err(error(format!(
            "`sdk.version` {text:?} is not made of three numbers"
        )));
    };
    let root = |text: String| {
        Version::parse(&text).map_err(|cause| error(format!("`sdk.version` is odd: {cause}")))
    };
    // The `latest…` policies differ in which of several SDKs is picked, not in which will do.
    let range = match policy.as_deref() {
        None | Some("patch" | "latestpatch") => {
            let next_band = (patch / 100).saturating_add(1).saturating_mul(100);
            let bound = root(format!("{major}.{minor}.{next_band}"))?;
            VersionRange::at_least_less(version, bound)
        }
        Some("feature" | "latestfeature") => {
            VersionRange::at_least_within(version, root(format!("{major}.{minor}"))?)
        }
        Some("minor" | "latestminor") => {
            VersionRange::at_least_within(version, root(major.to_string())?)
        }
        Some("major" | "latestmajor") => VersionRange::at_least(version),
        // Exactly this one, whatever is said of pre-releases.
        Some("disable") => return Ok(Some(VersionRange::exactly(version))),
        Some(_) => {
            let given = entry.roll_forward.as_deref().unwrap_or_default();
            let given: String = given.chars().take(40).collect();
            return Err(error(format!(
                "`sdk.rollForward` has the unknown value {given:?}"
            )));
        }
    };
    Ok(Some(match entry.allow_pre_release {
        None | Some(true) => range.with_pre_releases(),
        Some(false) => range,
    }))
}
