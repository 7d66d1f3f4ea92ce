//! What a launch says: the command, its surroundings, its limits, and what must not be shown.
//!
//! A request is complete: nothing of the launcher's own environment, directory or limits flows
//! into the command. The user to run as and the control group to run in are chosen by the
//! launcher's configuration, so they are absent here; so is everything that isolates, as a request
//! could only weaken it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::os_text::{self, OsText};
use crate::spool::SpoolLimits;

/// Most needles one request may carry.
pub const MAX_NEEDLES: usize = 4096;

/// Longest needle in bytes. A longer secret is masked by handing in its lines one by one.
pub const MAX_NEEDLE_BYTES: usize = 16 << 10;

/// One command to run under a supervisor of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchRequest {
    /// The program and its arguments; at least one. A program without a slash is looked for in
    /// the `PATH` of `environment`, and nowhere when that has none.
    pub command: Vec<OsText>,
    /// The whole environment of the command, in this order.
    pub environment: Vec<(OsText, OsText)>,
    /// Absolute path of the command's directory, within the launcher's work roots. That it is
    /// missing is an ending ([`crate::spool::status::Ending::CouldNotStart`]), not a refusal.
    pub working_directory: OsText,
    /// Absolute path of the spool, within the launcher's spool roots, made before with
    /// [`crate::SpoolWriter::create`] and closed again.
    pub spool: OsText,
    /// File mode creation mask of the command.
    #[serde(default = "default_umask")]
    pub umask: u32,
    /// When the command is stopped.
    pub limits: Limits,
    /// What the command's output and error output are connected to.
    pub streams: OutputStreams,
    /// How much of the console is kept.
    pub spool_limits: SpoolLimits,
    /// What is replaced in the console before it reaches the disk.
    pub needles: Needles,
    /// Directories that are the command's while it runs. Without users of its own the launcher
    /// leaves them as they are.
    #[serde(default)]
    pub directories: Option<Directories>,
    /// What the command's whole tree may use; the launcher's own maxima narrow it further.
    #[serde(default)]
    pub resources: ResourceLimits,
    /// Which network the command sees.
    #[serde(default)]
    pub network: Network,
}

/// Directories that belong to the client before the command starts and after its tree is gone, and
/// to the command's user in between.
///
/// The launcher walks them without following a link and changes the owner of exactly what belongs
/// to the other party: the client's files before, the command's after. What belongs to anybody
/// else stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directories {
    /// Absolute path, within the launcher's work roots, of the directory that holds the others. It
    /// stays the client's; the command's user, and no other, may pass through it meanwhile.
    pub parent: OsText,
    /// Names in `parent` of the directories that change hands with all that they hold.
    pub names: Vec<OsText>,
    /// The one of `names` that the command sees as `/tmp` and `/var/tmp`, where the system can show
    /// a process another directory there.
    #[serde(default)]
    pub temporary: Option<OsText>,
}

/// What the tree of a command may use. `None` is as much as the launcher allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceLimits {
    /// Memory of the whole tree in bytes, swap included; at least 1 MiB.
    pub memory_bytes: Option<u64>,
    /// CPU time in thousandths of one CPU; at least 10.
    pub cpu_millis: Option<u64>,
    /// Processes and threads of the whole tree; at least 1.
    pub processes: Option<u32>,
}

impl ResourceLimits {
    /// The smaller of each.
    #[must_use]
    pub fn narrowed_by(self, other: Self) -> Self {
        Self {
            memory_bytes: smaller(self.memory_bytes, other.memory_bytes),
            cpu_millis: smaller(self.cpu_millis, other.cpu_millis),
            processes: smaller(self.processes, other.processes),
        }
    }
}

fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// That of the machine.
    #[default]
    Machine,
    /// A loopback device of its own and nothing else. Where the launcher cannot make one, the
    /// request is refused rather than run with more than it asked for.
    Loopback,
}

fn default_umask() -> u32 {
    0o022
}

/// When a command is stopped. All spans run on a clock that no setting of the time of day moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest time from start to exit; `None` for no limit.
    pub wall: Option<Duration>,
    /// Longest time without a byte of output; `None` for no limit.
    pub silence: Option<Duration>,
    /// Time between asking the tree to end (SIGTERM) and killing it (SIGKILL) once a limit was
    /// hit. Zero kills at once.
    pub grace: Duration,
    /// Most console bytes the command may produce before it is stopped; `None` for no limit.
    pub output_bytes: Option<u64>,
}

/// What the command's output and error output are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStreams {
    /// A pipe each: the index knows the stream of every byte; their order against each other is
    /// as exact as the supervisor is quick.
    Separate,
    /// One pipe for both: the order is exact and every byte counts as output.
    Merged,
}

/// Byte strings that must not reach the disk; each occurrence becomes `***`.
///
/// Whoever fills this has expanded the variants (encodings, lines) before. They appear in no
/// status, no log and no `Debug` output.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Needles(Vec<Vec<u8>>);

impl Needles {
    /// The needles given; empty ones and repetitions fall away.
    pub fn new(needles: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut needles: Vec<_> = needles
            .into_iter()
            .filter(|needle| !needle.is_empty())
            .collect();
        needles.sort_unstable();
        needles.dedup();
        Self(needles)
    }

    /// The needles in ascending order, none empty, none twice.
    pub fn as_slice(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Needles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Needles({} hidden)", self.0.len())
    }
}

impl Serialize for Needles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Needle<'a>(&'a [u8]);
        impl Serialize for Needle<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                os_text::serialize_bytes(self.0, serializer)
            }
        }
        serializer.collect_seq(self.0.iter().map(|needle| Needle(needle)))
    }
}

impl<'de> Deserialize<'de> for Needles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Needle(Vec<u8>);
        impl<'de> Deserialize<'de> for Needle {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                os_text::deserialize_bytes(deserializer).map(Needle)
            }
        }
        let needles = Vec::<Needle>::deserialize(deserializer)?;
        Ok(Self::new(needles.into_iter().map(|needle| needle.0)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request without limits or surroundings, for tests to change.
    pub(crate) fn request() -> LaunchRequest {
        LaunchRequest {
            command: vec!["/bin/true".into()],
            environment: Vec::new(),
            working_directory: "/".into(),
            spool: "/spool".into(),
            umask: 0o022,
            limits: Limits {
                wall: None,
                silence: None,
                grace: Duration::ZERO,
                output_bytes: None,
            },
            streams: OutputStreams::Separate,
            spool_limits: SpoolLimits::default(),
            needles: Needles::default(),
            directories: None,
            resources: ResourceLimits::default(),
            network: Network::default(),
        }
    }

    #[test]
    fn limits_narrow_each_other_and_never_widen() {
        let asked = ResourceLimits {
            memory_bytes: Some(100),
            cpu_millis: None,
            processes: Some(5),
        };
        let most = ResourceLimits {
            memory_bytes: Some(50),
            cpu_millis: Some(1000),
            processes: Some(10),
        };
        let narrowed = ResourceLimits {
            memory_bytes: Some(50),
            cpu_millis: Some(1000),
            processes: Some(5),
        };
        assert_eq!(asked.narrowed_by(most), narrowed);
        assert_eq!(most.narrowed_by(asked), narrowed);
    }

    #[test]
    fn needles_survive_the_wire_and_stay_out_of_debug() {
        let needles = Needles::new([
            b"b\xffb".to_vec(),
            b"hunter2".to_vec(),
            vec![],
            b"hunter2".to_vec(),
        ]);
        assert_eq!(needles.as_slice().len(), 2);
        let json = serde_json::to_string(&needles).unwrap();
        assert_eq!(serde_json::from_str::<Needles>(&json).unwrap(), needles);
        assert_eq!(format!("{needles:?}"), "Needles(2 hidden)");
    }
}
