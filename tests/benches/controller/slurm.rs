//! Slurm on this machine alone: one controller, one node.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::figures::is_installed;

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one node.
pub(crate) struct Slurm {
    daemons: Vec<Child>,
    directory: TempDir,
}

impl Slurm {
    /// Starts it, or says why not. Needs root, as it runs as root.
    pub(crate) fn start() -> Option<Self> {
        let missing = ["slurmctld", "slurmd", "srun", "munged"]
            .into_iter()
            .find(|program| !is_installed(program));
        if let Some(program) = missing {
            println!("Slurm is left out: no {program}");
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            println!("Slurm is left out: it needs root here");
            return None;
        }
        let directory = TempDir::with_prefix("helix-bench-slurm-").expect("a directory");
        let slurm = Self::start_in(directory);
        match slurm {
            Ok(slurm) => Some(slurm),
            Err(reason) => {
                println!("Slurm is left out: {reason}");
                None
            }
        }
    }

    fn start_in(directory: TempDir) -> Result<Self, String> {
        let root = directory.path().display().to_string();
        let failed = |error: std::io::Error| error.to_string();
        let host = nix::unistd::gethostname().map_err(|errno| errno.to_string())?;
        let host = host.to_string_lossy();
        let key = directory.path().join("munge.key");
        std::fs::write(&key, [7; 128]).map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).map_err(failed)?;
        std::fs::write(
            directory.path().join("slurm.conf"),
            format!(
                "ClusterName=bench\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\n\
                 AuthType=auth/munge\nAuthInfo=socket={root}/munge.socket\n\
                 CredType=cred/munge\nStateSaveLocation={root}/state\n\
                 SlurmdSpoolDir={root}/spool\nSlurmctldPort=26817\nSlurmdPort=26818\n\
                 SlurmctldPidFile={root}/ctld.pid\nSlurmdPidFile={root}/d.pid\n\
                 ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
                 SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
                 SchedulerParameters=sched_min_interval=1000\n\
                 ReturnToService=2\nMpiDefault=none\n\
                 NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
                 PartitionName=bench Nodes={host} Default=YES State=UP OverSubscribe=FORCE:4\n"
            ),
        )
        .map_err(failed)?;
        for name in ["state", "spool"] {
            std::fs::create_dir(directory.path().join(name)).map_err(failed)?;
        }
        let mut slurm = Self {
            daemons: Vec::new(),
            directory,
        };
        slurm.daemon(
            "munged",
            &[
                "--foreground",
                "--force",
                &format!("--key-file={root}/munge.key"),
                &format!("--socket={root}/munge.socket"),
                &format!("--pid-file={root}/munge.pid"),
                &format!("--log-file={root}/munge.log"),
                &format!("--seed-file={root}/munge.seed"),
            ],
        )?;
        slurm.daemon("slurmctld", &["-D", "-i"])?;
        slurm.daemon("slurmd", &["-D"])?;
        let began = Instant::now();
        loop {
            let tried = slurm.command("srun").args(["-I", "/bin/true"]).output();
            let tried = tried.map_err(failed)?;
            if tried.status.success() {
                return Ok(slurm);
            }
            if began.elapsed() > PATIENCE {
                return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// One item after the other, or two at a time, in one allocation.
    pub(crate) fn run(&self, items: usize, slots: u32) {
        let line = format!(
            "for i in $(seq {}); do srun -n1 /bin/true || exit 1; done",
            items / slots as usize
        );
        let line = match slots {
            1 => line,
            _ => format!("({line}) & first=$!; ({line}) && wait $first"),
        };
        let ran = self
            .command("salloc")
            .args(["--quiet", "-n", &slots.to_string(), "/bin/sh", "-c", &line])
            .output()
            .expect("salloc runs");
        assert!(ran.status.success(), "{ran:?}");
    }

    fn daemon(&mut self, name: &str, arguments: &[&str]) -> Result<(), String> {
        let program = Path::new("/usr/sbin").join(name);
        let child = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.directory.path().join("slurm.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        self.daemons.push(child);
        Ok(())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", self.directory.path().join("slurm.conf"));
        command
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
