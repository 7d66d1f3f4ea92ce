//! Requirements read out of files that projects carry anyway.

use std::collections::BTreeMap;

use super::{CapabilityName, Requirement};

/// A kind of file, and which capabilities it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequirementFile {
    /// One version and nothing else: `.xcode-version`, `.python-version`, `.node-version`. Several lines
    /// are alternatives.
    Version {
        /// What the version is of.
        capability: CapabilityName,
    },
    /// `global.json` of the .NET SDK.
    GlobalJson {
        /// What the SDK's version is of.
        capability: CapabilityName,
    },
    /// `.tool-versions` of asdf and mise.
    ToolVersions {
        /// Which capability each tool's name stands for; other tools are passed over.
        capabilities: BTreeMap<String, CapabilityName>,
    },
}

/// A file that cannot be understood. The rest of the file is not used either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RequirementFileError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it, as a sentence without a full stop.
    pub problem: String,
}

impl RequirementFile {
    /// What a file with this text requires; nothing if it names no version.
    ///
    /// # Errors
    ///
    /// A line that can be read in no way, where passing over it might run an item on the wrong tools.
    pub fn read(&self, _text: &str) -> Result<Vec<Requirement>, RequirementFileError> {
        Ok(Vec::new())
    }
}
