//! A small Linux of its own in a virtual machine, for what the machine of the
//! tests does not have: control groups of version 2 with all controllers.
//!
//! The directory in the environment variable [`VARIABLE`] holds its kernel,
//! initial RAM disk and root disk (`.ci/guest` makes them). Nothing of it is
//! changed by a run: programs come on a disk of their own, what is written to
//! the root disk is thrown away, and the result leaves on a third disk. There is
//! no network.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tools;

/// Names the directory with the machine.
pub const VARIABLE: &str = "HELIX_TEST_GUEST";

/// Longest run. The processor is emulated, which makes it five times slower at
/// best.
pub const LIMIT: Duration = Duration::from_secs(15 * 60);

const EMULATOR: &str = "qemu-system-x86_64";

/// Largest archive that a run can bring back.
const RESULT_BYTES: u64 = 64 << 20;

/// Swap space of the machine.
const SWAP_BYTES: u64 = 256 << 20;

/// What the kernel says when it is at its end.
const PANIC: &str = "Kernel panic";

/// Lines of the console that tell why a run went wrong.
const CONSOLE_LINES: usize = 40;

/// A machine that can be started.
#[derive(Debug)]
pub struct Guest {
    directory: PathBuf,
}

/// What a command did in the machine.
#[derive(Debug)]
pub struct Ran {
    /// How it ended, as a shell has it: 128 and more for signals.
    pub exit_code: i32,
    /// Its output and error output.
    pub output: String,
}

/// What a reboot of the machine does.
#[derive(Debug, Clone, Copy)]
enum Reboot {
    /// It ends the machine.
    Ends,
    /// It starts the machine anew.
    GoesOn,
}

/// Why a start brought nothing back.
enum Failure {
    /// The kernel gave up, as the emulation has it do once in a while.
    Panic(String),
    /// Anything else, in words.
    Other(String),
}

impl Guest {
    /// The machine that the environment names; without one, says that the
    /// calling test is skipped.
    #[must_use]
    pub fn find() -> Option<Self> {
        tools::tool(VARIABLE).map(|directory| Self {
            directory: directory.into(),
        })
    }

    /// Starts the machine, puts each of the files at the path that it has here,
    /// and runs a shell line as root in a service with a delegated control group.
    ///
    /// # Panics
    ///
    /// If the machine does not start, is not done after [`LIMIT`], or brings
    /// nothing back.
    #[must_use]
    pub fn run(&self, files: &[&Path], line: &str) -> Ran {
        self.run_with(Reboot::Ends, files, line)
    }

    /// The same, but the machine may reboot: its root disk keeps what was written, and the line runs
    /// again from its beginning. It is over when the line ends.
    ///
    /// # Panics
    ///
    /// As above.
    #[must_use]
    pub fn run_through_reboots(&self, files: &[&Path], line: &str) -> Ran {
        self.run_with(Reboot::GoesOn, files, line)
    }

    fn run_with(&self, reboot: Reboot, files: &[&Path], line: &str) -> Ran {
        let first = self.start(reboot, files, line);
        let second = match first {
            Err(Failure::Panic(_)) => self.start(reboot, files, line),
            first => first,
        };
        match second {
            Ok(ran) => ran,
            Err(Failure::Panic(why) | Failure::Other(why)) => panic!("{why}"),
        }
    }

    fn start(&self, reboot: Reboot, files: &[&Path], line: &str) -> Result<Ran, Failure> {
        let disks = TempDir::new().expect("a directory is made");
        let at = |name: &str| disks.path().join(name);
        write_programs(&at("programs"), files, line);
        for (name, size) in [("result", RESULT_BYTES), ("swap", SWAP_BYTES)] {
            let disk = std::fs::File::create(at(name)).expect("a disk is made");
            disk.set_len(size).expect("a disk has a size");
        }
        let mut machine = Machine(self.command(reboot, disks.path()).spawn().unwrap_or_else(
            |error| {
                panic!("`{EMULATOR}` does not start: {error}");
            },
        ));
        let status = machine.wait();
        match read_result(&at("result")) {
            Some(ran) => Ok(ran),
            None => Err(describe(status, &at("console"), &at("errors"))),
        }
    }

    fn command(&self, reboot: Reboot, disks: &Path) -> Command {
        let mut command = Command::new(EMULATOR);
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-m", "1024", "-smp", "2", "-nic", "none"])
            .args(["-display", "none", "-nodefaults"])
            // A panic of the kernel is one too.
            .args(match reboot {
                Reboot::Ends => &["-no-reboot"][..],
                Reboot::GoesOn => &[],
            })
            .args(["-device", "virtio-rng-pci"])
            .arg("-kernel")
            .arg(self.directory.join("kernel"))
            .arg("-initrd")
            .arg(self.directory.join("initrd"))
            // A panic reboots at once.
            .args(["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"])
            .arg("-serial")
            .arg(format!("file:{}", path(&disks.join("console"))));
        for (name, file, options) in [
            ("root", self.directory.join("root.img"), "snapshot=on"),
            ("programs", disks.join("programs"), "readonly=on"),
            ("result", disks.join("result"), "cache=unsafe"),
            ("swap", disks.join("swap"), "cache=unsafe"),
        ] {
            let file = path(&file);
            command
                .arg("-drive")
                .arg(format!(
                    "file={file},if=none,id={name},format=raw,{options}"
                ))
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive={name},serial={name}"));
        }
        let errors = std::fs::File::create(disks.join("errors")).expect("a file is made");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        command
    }
}

/// An emulator that runs, and ends with its owner.
struct Machine(Child);

impl Machine {
    /// Waits for it to switch itself off; `None` when that took too long.
    fn wait(&mut self) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Commas separate the emulator's options and are doubled where they do not.
fn path(path: &Path) -> String {
    path.to_str().expect("a path is text").replace(',', ",,")
}

/// Writes the archive that the machine unpacks and runs.
fn write_programs(disk: &Path, files: &[&Path], line: &str) {
    let script = format!(
        "#!/bin/sh\n\
         mkswap /dev/disk/by-id/virtio-swap >/dev/null && swapon /dev/disk/by-id/virtio-swap\n\
         mkdir /run/result\n\
         ( cd /\n{line}\n) </dev/null >/run/result/output 2>&1\n\
         echo $? >/run/result/code\n\
         tar -cf /dev/disk/by-id/virtio-result -C /run/result output code\n\
         exec systemctl poweroff -ff\n"
    );
    let mut archive = tar::Builder::new(std::fs::File::create(disk).expect("a disk is made"));
    for file in files {
        let mut content = std::fs::File::open(file).expect("a program is there");
        let name = file.strip_prefix("/").expect("an absolute path");
        archive
            .append_file(name, &mut content)
            .expect("a program is packed");
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, "helix-guest/run", script.as_bytes())
        .expect("the script is packed");
    archive.into_inner().expect("the archive ends");
}

/// What the machine has brought back; `None` when it is not whole.
fn read_result(disk: &Path) -> Option<Ran> {
    let mut archive = tar::Archive::new(std::fs::File::open(disk).ok()?);
    let (mut output, mut code) = (None, None);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let name = entry.path().ok()?.into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match name.to_str()? {
            "output" => output = Some(text),
            "code" => code = Some(text.trim().parse().ok()?),
            _ => {}
        }
    }
    Some(Ran {
        exit_code: code?,
        output: output?,
    })
}

fn describe(status: Option<ExitStatus>, console: &Path, errors: &Path) -> Failure {
    let read = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let console = read(console);
    let ended = match status {
        None => format!("is not done after {LIMIT:?}"),
        Some(status) => match status.signal() {
            Some(signal) => format!("was killed by signal {signal}"),
            None => format!("ended with {status} and no result"),
        },
    };
    let lines: Vec<_> = console.lines().collect();
    let last = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
    let why = format!(
        "the machine {ended}; its console at last:\n{}\nits emulator said: {}",
        last.join("\n"),
        read(errors)
    );
    if status.is_some() && console.contains(PANIC) {
        Failure::Panic(why)
    } else {
        Failure::Other(why)
    }
}
