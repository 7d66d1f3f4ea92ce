//! The variables that a command sees: built from nothing, from a written list.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use helix_model::work_item::WorkItem;

use super::layout::Layout;
use super::requests;

/// Where programs are looked for unless the configuration says otherwise.
#[cfg(not(target_os = "macos"))]
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where programs are looked for unless the configuration says otherwise.
#[cfg(target_os = "macos")]
pub(crate) const DEFAULT_PATH: &str =
    "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Text is UTF-8, sorted by bytes.
#[cfg(not(target_os = "macos"))]
const LANG: &str = "C.UTF-8";
/// Text is UTF-8. Older systems know no `C.UTF-8`.
#[cfg(target_os = "macos")]
const LANG: &str = "en_US.UTF-8";

/// Names with this beginning are the agent's alone.
const RESERVED: &str = "HELIX_";

/// What the machine and the agent's configuration contribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) layout: &'a Layout,
    /// The directory that holds the Python package.
    pub(crate) scripts: &'a Path,
    /// Where the sentinel `offline` is looked for.
    pub(crate) config_root: &'a Path,
    /// Where the agent's own logs are.
    pub(crate) log_root: &'a Path,
    pub(crate) work_root: &'a Path,
    pub(crate) machine_name: &'a str,
    /// The user that the command runs as.
    pub(crate) user: &'a str,
    /// Where programs are looked for; see [`DEFAULT_PATH`].
    pub(crate) path: &'a OsStr,
    /// See [`find_python`].
    pub(crate) python: Option<&'a Path>,
}

/// The whole environment of a command, sorted by name.
///
/// The work item's own variables win over the agent's, save those that begin
/// with `HELIX_`, which are ignored. The package's directory comes at the end of
/// a `PYTHONPATH` of the work item's own.
pub(crate) fn environment(
    work_item: &WorkItem,
    surroundings: &Surroundings<'_>,
) -> BTreeMap<OsString, OsString> {
    let mut variables = of_agent(work_item, surroundings);
    for (name, value) in work_item.environment.iter() {
        if name.starts_with(RESERVED) {
            continue;
        }
        let mut value = OsString::from(value);
        if name == "PYTHONPATH" && !value.is_empty() {
            value.push(":");
            value.push(surroundings.scripts);
        }
        variables.insert(name.into(), value);
    }
    variables
}

fn of_agent(work_item: &WorkItem, surroundings: &Surroundings<'_>) -> BTreeMap<OsString, OsString> {
    let Surroundings {
        layout, scripts, ..
    } = *surroundings;
    let delivery = &work_item.delivery;
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: &OsStr| {
        variables.insert(OsString::from(name), value.to_owned());
    };
    for (name, path) in [
        ("HELIX_CONFIG_ROOT", surroundings.config_root),
        ("HELIX_CORRELATION_PAYLOAD", layout.correlation()),
        ("HELIX_CURRENT_LOG", layout.console_log()),
        ("HELIX_DUMP_FOLDER", layout.dumps()),
        ("HELIX_LOG_ROOT", surroundings.log_root),
        ("HELIX_SCRIPT_ROOT", scripts),
        ("HELIX_WORKITEM_PAYLOAD", layout.payload()),
        (
            "HELIX_WORKITEM_REQUESTS",
            &layout.requests().join(requests::FILE_NAME),
        ),
        ("HELIX_WORKITEM_ROOT", layout.execution()),
        ("HELIX_WORKITEM_UPLOAD_ROOT", layout.uploads()),
        ("HELIX_WORK_ROOT", surroundings.work_root),
        ("HOME", layout.home()),
        ("PYTHONPATH", scripts),
        ("TMPDIR", layout.temporary()),
    ] {
        set(name, path.as_os_str());
    }
    for (name, text) in [
        ("HELIX_CORRELATION_ID", work_item.job.as_str()),
        ("HELIX_MACHINENAME", surroundings.machine_name),
        ("HELIX_WORKITEM_ATTEMPT_ID", work_item.attempt.as_str()),
        ("HELIX_WORKITEM_DELIVERY", &delivery.number().to_string()),
        (
            "HELIX_WORKITEM_FRIENDLYNAME",
            work_item.friendly_name.as_str(),
        ),
        ("HELIX_WORKITEM_ID", work_item.id.as_str()),
        (
            "HELIX_WORKITEM_RETRIES_LEFT",
            &delivery.retries_left().to_string(),
        ),
        ("LANG", LANG),
        ("LOGNAME", surroundings.user),
        ("USER", surroundings.user),
    ] {
        set(name, OsStr::new(text));
    }
    set("PATH", surroundings.path);
    if let Some(python) = surroundings.python {
        set("HELIX_PYTHONPATH", python.as_os_str());
    }
    variables
}

/// The first `python3`, or else the first `python`, in the directories of a
/// `PATH`. Relative directories do not count: they would mean another program
/// wherever the command goes.
pub(crate) fn find_python(path: &OsStr) -> Option<PathBuf> {
    ["python3", "python"].into_iter().find_map(|name| {
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|candidate| is_program(candidate))
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
    use helix_model::resources::ResourcesWanted;
    use helix_model::work_item::{
        Command, Delivery, DeliveryCounts, Environment, Network, OutputMode, WantedLimits,
    };

    use super::*;

    fn work_item(variables: &[(&str, &str)]) -> WorkItem {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        WorkItem {
            id: WorkItemId::new("item-1").expect("an id"),
            job: JobId::new("job-1").expect("an id"),
            attempt: AttemptId::new("attempt-1").expect("an id"),
            friendly_name: FriendlyName::new("Some Tests").expect("a name"),
            queue: QueueName::new("ubuntu").expect("a name"),
            command: Command::shell("true").expect("a command"),
            environment: Environment::new(variables.collect()).expect("variables"),
            secrets: Vec::new(),
            payloads: Vec::new(),
            correlation_payloads: Vec::new(),
            limits: WantedLimits::default().resolve().expect("limits"),
            output_mode: OutputMode::Merged,
            resources: ResourcesWanted::default(),
            network: Network::Machine,
            requirements: Vec::new(),
            artifacts: Vec::new(),
            delivery: Delivery::try_from(DeliveryCounts {
                number: 2,
                queue_max: 5,
                retries_requested: 3,
                retries_used: 1,
            })
            .expect("a delivery"),
        }
    }

    /// The environment as `NAME=value`, the root of the layout as `@` and the
    /// directory of the attempt as `~`.
    fn listed(
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Surroundings<'_>),
    ) -> Vec<String> {
        let root = tempfile::tempdir().expect("a directory");
        let work_item = work_item(variables);
        let layout = Layout::create(root.path(), &work_item.job, &work_item.attempt).expect("made");
        let mut surroundings = Surroundings {
            layout: &layout,
            scripts: Path::new("/var/lib/helix/scripts"),
            config_root: Path::new("/etc/helix"),
            log_root: Path::new("/var/log/helix"),
            work_root: root.path(),
            machine_name: "machine-7",
            user: "helix-1",
            path: OsStr::new("/usr/bin:/bin"),
            python: Some(Path::new("/usr/bin/python3")),
        };
        change(&mut surroundings);
        let attempt = layout.attempt().display().to_string();
        let root = root.path().display().to_string();
        environment(&work_item, &surroundings)
            .into_iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .map(|line| line.replace(&attempt, "~").replace(&root, "@"))
            .collect()
    }

    #[test]
    fn the_whole_environment_is_this_list() {
        use sha2::{Digest, Sha256};
        let job: String = Sha256::digest("job-1")[..4]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let attempt: String = Sha256::digest("attempt-1")[..4]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            listed(&[], |_| ()),
            [
                "HELIX_CONFIG_ROOT=/etc/helix",
                "HELIX_CORRELATION_ID=job-1",
                &format!("HELIX_CORRELATION_PAYLOAD=@/{job}/p"),
                &format!("HELIX_CURRENT_LOG=~/console.{attempt}.log"),
                "HELIX_DUMP_FOLDER=~/d",
                "HELIX_LOG_ROOT=/var/log/helix",
                "HELIX_MACHINENAME=machine-7",
                "HELIX_PYTHONPATH=/usr/bin/python3",
                "HELIX_SCRIPT_ROOT=/var/lib/helix/scripts",
                "HELIX_WORKITEM_ATTEMPT_ID=attempt-1",
                "HELIX_WORKITEM_DELIVERY=2",
                "HELIX_WORKITEM_FRIENDLYNAME=Some Tests",
                "HELIX_WORKITEM_ID=item-1",
                "HELIX_WORKITEM_PAYLOAD=~/p",
                "HELIX_WORKITEM_REQUESTS=~/r/requests.jsonl",
                "HELIX_WORKITEM_RETRIES_LEFT=2",
                "HELIX_WORKITEM_ROOT=~/e",
                "HELIX_WORKITEM_UPLOAD_ROOT=~/u",
                "HELIX_WORK_ROOT=@",
                "HOME=~/h",
                &format!("LANG={LANG}"),
                "LOGNAME=helix-1",
                "PATH=/usr/bin:/bin",
                "PYTHONPATH=/var/lib/helix/scripts",
                "TMPDIR=~/t",
                "USER=helix-1",
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_not_set() {
        let listed = listed(&[], |surroundings| surroundings.python = None);
        assert!(
            !listed
                .iter()
                .any(|line| line.starts_with("HELIX_PYTHONPATH"))
        );
    }

    #[test]
    fn variables_of_the_work_item_win_but_for_those_of_helix() {
        let listed = listed(
            &[
                ("PATH", "/opt/bin"),
                ("LANG", "sv_SE"),
                ("OWN", "x"),
                ("HELIX_WORKITEM_ROOT", "/"),
                ("HELIX_OWN", "x"),
                ("helix_own", "y"),
            ],
            |_| {},
        );
        let value = |name: &str| {
            listed
                .iter()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        assert_eq!(value("PATH"), Some("/opt/bin"));
        assert_eq!(value("LANG"), Some("sv_SE"));
        assert_eq!(value("OWN"), Some("x"));
        assert_eq!(value("HELIX_WORKITEM_ROOT"), Some("~/e"));
        assert_eq!(value("HELIX_OWN"), None);
        assert_eq!(value("helix_own"), Some("y"));
    }

    #[test]
    fn a_python_path_of_the_work_item_comes_first() {
        let listed = listed(&[("PYTHONPATH", "/own")], |_| {});
        assert!(listed.contains(&"PYTHONPATH=/own:/var/lib/helix/scripts".to_owned()));
    }

    #[test]
    fn python_is_the_first_program_of_that_name() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = |name: &str| root.path().join(name);
        let program = |path: PathBuf, mode: u32| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(&path, "").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        };
        program(directory("a").join("python3"), 0o644);
        fs::create_dir_all(directory("b").join("python3")).expect("made");
        program(directory("b").join("python"), 0o755);
        program(directory("c").join("python3"), 0o755);
        let path = |names: &[&str]| {
            std::env::join_paths(names.iter().map(|name| directory(name))).expect("a path")
        };
        assert_eq!(
            find_python(&path(&["a", "b", "c"])),
            Some(directory("c").join("python3"))
        );
        assert_eq!(
            find_python(&path(&["a", "b"])),
            Some(directory("b").join("python"))
        );
        assert_eq!(find_python(&path(&["a"])), None);
        assert_eq!(find_python(OsStr::new("")), None);
        assert_eq!(find_python(OsStr::new("relative:.")), None);
    }
}
