//! What the machine is: facts that do not change while it is up.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

use std::io;
use std::num::NonZeroU32;
use std::thread;

use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue};
use helix_model::version::Version;
use sysinfo::System;

use crate::free::{Memory, MemoryError};

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Operating system and version in words, such as `Linux (Debian GNU/Linux 12)`.
    pub operating_system: String,
    /// The kind of operating system: `linux`, `macos`.
    pub system: &'static str,
    /// Which system of that kind, in lower case: `debian`, `ubuntu`, `macos`.
    pub distribution: String,
    /// The distribution's version, such as `12` or `15.1`; none where the system has none.
    pub distribution_version: Option<String>,
    /// The kernel's version, such as `6.18.44-cloud-amd64`; none if it does not say.
    pub kernel_version: Option<String>,
    /// The architecture that this program was built for: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// CPUs that this process may use: affinity and CPU quota of its control group are taken into
    /// account.
    pub cpus: NonZeroU32,
    /// Main memory in bytes, or the limit of the container around this process if that is less.
    pub memory_bytes: u64,
    /// What the machine calls itself; `localhost` if it has no name.
    pub host_name: String,
    /// Changes with each boot.
    pub boot_id: String,
}

/// A fact that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// How much memory there is.
    #[error("find out how much memory the machine has")]
    Memory(#[source] MemoryError),
    /// Which boot this is.
    #[error("read the boot id from `{place}`")]
    BootId {
        /// The file or system variable.
        place: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Facts {
    /// Asks the system. Reads small files and does system calls: milliseconds at most.
    ///
    /// # Errors
    ///
    /// The system does not tell its memory or its boot.
    pub fn read() -> Result<Self, FactsError> {
        let text = |fact: Result<String, sysinfo::Error>| {
            fact.ok()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        Ok(Self {
            operating_system: text(System::long_os_version())
                .unwrap_or_else(|| system::NAME.to_owned()),
            system: system::NAME,
            distribution: system::distribution(),
            distribution_version: text(System::os_version()),
            kernel_version: text(System::kernel_version()),
            architecture: std::env::consts::ARCH,
            cpus: cpus(),
            memory_bytes: Memory::read().map_err(FactsError::Memory)?.total_bytes,
            host_name: text(System::host_name()).unwrap_or_else(|| "localhost".to_owned()),
            boot_id: system::boot_id()?,
        })
    }

    /// The facts that an item can require:
    ///
    /// | name | value |
    /// |---|---|
    /// | `os` | `linux` or `macos` |
    /// | `os-version` | the distribution's version |
    /// | `distribution` | `debian`, `ubuntu`, `macos`, … |
    /// | `kernel` | the kernel's version up to the first part that is no number: `6.18.44` |
    /// | `arch` | the architecture by all its usual names: `x86_64`, `amd64`, `x64`; `aarch64`, `arm64` |
    ///
    /// What is not known, or is no version where one is due, is left out.
    #[must_use]
    pub fn capabilities(&self) -> CapabilitySet {
        let mut set = CapabilitySet::new();
        let mut add = |name: &str, value: Option<CapabilityValue>| {
            if let (Ok(name), Some(value)) = (CapabilityName::new(name), value) {
                set.add(name, value);
            }
        };
        let version = |text: &Option<String>| {
            let version = Version::parse(text.as_deref()?).ok()?;
            Some(CapabilityValue::versions([version]))
        };
        // What follows the numbers names a flavour (`-cloud-amd64`), but would read as a
        // pre-release.
        let kernel = self.kernel_version.as_deref().map(|text| {
            let end = text
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .unwrap_or(text.len());
            text[..end].trim_end_matches('.').to_owned()
        });
        add("os", Some(CapabilityValue::text(self.system)));
        add("os-version", version(&self.distribution_version));
        add(
            "distribution",
            Some(CapabilityValue::text(self.distribution.clone())),
        );
        add("kernel", version(&kernel));
        add("arch", Some(CapabilityValue::text(self.architecture)));
        for alias in architecture_aliases(self.architecture) {
            add("arch", Some(CapabilityValue::text(*alias)));
        }
        set
    }
}

/// Other names of an architecture.
fn architecture_aliases(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "x86_64" => &["amd64", "x64"],
        "aarch64" => &["arm64"],
        _ => &[],
    }
}

/// The CPUs that this process may use; one if the system does not say.
fn cpus() -> NonZeroU32 {
    thread::available_parallelism()
        .ok()
        .and_then(|cpus| NonZeroU32::try_from(cpus).ok())
        .unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use helix_model::capability::Requirement;

    use super::Facts;

    fn facts() -> Facts {
        Facts {
            operating_system: "Linux (Debian GNU/Linux 12)".to_owned(),
            system: "linux",
            distribution: "debian".to_owned(),
            distribution_version: Some("12".to_owned()),
            kernel_version: Some("6.18.44-cloud-amd64".to_owned()),
            architecture: "x86_64",
            cpus: NonZeroU32::MIN,
            memory_bytes: 1 << 30,
            host_name: "box".to_owned(),
            boot_id: "b".to_owned(),
        }
    }

    #[track_caller]
    fn check(facts: &Facts, requirement: &str, expected: bool) {
        let parsed: Requirement = requirement.parse().expect("the requirement is well formed");
        let missing = facts.capabilities().missing(&[parsed]);
        assert_eq!(missing.is_empty(), expected, "`{requirement}`: {missing:?}");
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = Facts::read().expect("a machine that runs tests has facts");
        assert_eq!(facts.system, std::env::consts::OS);
        assert!(
            facts.memory_bytes > 64 << 20,
            "{} bytes of memory",
            facts.memory_bytes
        );
        assert!(!facts.operating_system.is_empty());
        assert!(!facts.distribution.is_empty());
        assert_eq!(facts.boot_id.len(), 36, "{}", facts.boot_id);
        assert_eq!(
            facts.boot_id,
            Facts::read().expect("and still has them").boot_id
        );
        check(&facts, &format!("os={}", std::env::consts::OS), true);
    }

    #[test]
    fn facts_meet_requirements_by_every_usual_name() {
        let facts = facts();
        check(&facts, "os=linux", true);
        check(&facts, "os=Linux", true);
        check(&facts, "os=macos", false);
        check(&facts, "arch=x86_64", true);
        check(&facts, "arch=amd64", true);
        check(&facts, "arch=x64", true);
        check(&facts, "arch=arm64", false);
        check(&facts, "distribution=debian", true);
        check(&facts, "os-version >=11", true);
        check(&facts, "os-version 13", false);
        check(&facts, "kernel >=5.10", true);
        check(&facts, "kernel =6.18.44", true);
    }

    #[test]
    fn unknown_or_unreadable_version_is_no_capability() {
        let mut facts = facts();
        facts.distribution_version = None;
        facts.kernel_version = Some("no version".to_owned());
        check(&facts, "os-version", false);
        check(&facts, "kernel", false);
    }
}
