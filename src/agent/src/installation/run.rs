//! Takes the steps of a plan.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Group, User};

use super::accounts::{self, Accounts};
use super::files::{has_content, write};
use super::place::{Place, System};
use super::step::{Command, Content, Failure, NewFile, Step, When, Whose};

/// How long launchd may take to end a job; the lists give the agent 90 s of it.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What a program says as it fails is in the error, up to here.
const MAX_WORDS_BYTES: usize = 4096;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub(crate) struct StepError {
    step: String,
    #[source]
    source: Problem,
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("{program} failed ({status}): {said}")]
    Program {
        program: String,
        status: String,
        said: String,
    },
    #[error("start {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("it has not ended within {} s", ENDS_WITHIN.as_secs())]
    StillRuns,
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("no number from 300 to 399 is free for another user")]
    NoNumber,
}

/// Takes steps, and remembers whether any file changed by it.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    place: &'a Place,
    tools: Tools,
    has_changed: bool,
}

/// The programs of the system.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Where they are looked for; default: as in this process.
    pub(super) search_path: Option<OsString>,
}

impl Tools {
    /// Runs a program to its end. Returns what it said on standard output.
    pub(super) fn run(&self, words: &[&str]) -> Result<String, Problem> {
        let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
        let mut process = Process::new(program);
        process.args(arguments).stdin(Stdio::null());
        if let Some(path) = &self.search_path {
            process.env("PATH", path);
        }
        let output = process.output().map_err(|source| Problem::Start {
            program: (*program).to_owned(),
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut said = [output.stderr, output.stdout].concat();
        said.truncate(MAX_WORDS_BYTES);
        Err(Problem::Program {
            program: (*program).to_owned(),
            status: output.status.to_string(),
            said: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }

    fn is_loaded(&self, label: &str) -> bool {
        let job = format!("system/{label}");
        self.run(&["launchctl", "print", &job]).is_ok()
    }
}

impl<'a> Runner<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self::with(place, Tools::default())
    }

    pub(super) fn with(place: &'a Place, tools: Tools) -> Self {
        Self {
            place,
            tools,
            has_changed: false,
        }
    }

    /// Takes a step. `say` gets a line if it did anything.
    pub(super) fn take(&mut self, step: &Step, say: &mut dyn FnMut(&str)) -> Result<(), StepError> {
        let text = step.to_string();
        let taken = match step {
            Step::Command(command) => self.command(command, say),
            Step::RestartJob { label, check } => self.restart_job(label, check, say),
            step => self.silently(step).map(|is_done| {
                if is_done {
                    say(&text);
                }
            }),
        };
        taken.map_err(|source| StepError { step: text, source })
    }

    /// What a step would meet, to go behind its text.
    pub(super) fn outlook(&self, step: &Step) -> &'static str {
        match step {
            Step::File(file) => match self.file_differs(file) {
                Ok(Difference::Absent) | Err(_) => "",
                Ok(Difference::None) => ": it is there",
                Ok(Difference::Kept) => ": it is there, and stays as it is",
                Ok(Difference::Attributes | Difference::Content) => ": it is replaced",
            },
            Step::Directory { path, .. } => {
                let is_there = self.place.target(path).is_ok_and(|path| path.is_dir());
                if is_there { ": it is there" } else { "" }
            }
            _ => "",
        }
    }

    /// A step of which there is nothing to tell but that it was taken. Says whether there was
    /// anything to do.
    fn silently(&mut self, step: &Step) -> Result<bool, Problem> {
        let is_done = match step {
            Step::Record(manifest) => {
                let path = self.place.entry(&self.place.system.manifest())?;
                if let Some(above) = path.parent() {
                    fs::create_dir_all(above)?;
                }
                let is_same = fs::read_to_string(&path).is_ok_and(|text| text == manifest.text());
                if !is_same {
                    write(&path, &Content::Text(manifest.text()), 0o644, (0, 0))?;
                }
                false
            }
            Step::Directory { path, mode } => self.directory(path, *mode, None)?,
            Step::OwnDirectory { path, owner, mode } => {
                let owner = self.owner(Some(owner))?;
                self.directory(path, *mode, Some(owner))?
            }
            Step::File(file) => self.file(file)?,
            Step::Link { path, to } => self.link(path, to)?,
            Step::Account { name, description } => {
                Accounts::of(&self.tools).make(name, description)?
            }
            Step::StartJob { label, list } => self.start_job(label, list)?,
            Step::StopJob { label } => self.stop_job(label)?,
            Step::KillProcesses { account } => {
                // It fails where there are none.
                self.tools.run(&["pkill", "-KILL", "-U", account]).is_ok()
            }
            Step::RemoveFile { path } => {
                let path = self.place.entry(path)?;
                is_gone(fs::remove_file(path))?
            }
            Step::RemoveTree { path } => {
                let path = self.place.entry(path)?;
                let is_directory = path.symlink_metadata().is_ok_and(|there| there.is_dir());
                is_gone(if is_directory {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                })?
            }
            Step::RemoveDirectory { path } => {
                let path = self.place.entry(path)?;
                match fs::remove_dir(path) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            // The latter where something is mounted, or a link is in its place.
                            io::ErrorKind::DirectoryNotEmpty
                                | io::ErrorKind::ResourceBusy
                                | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        false
                    }
                    removed => is_gone(removed)?,
                }
            }
            Step::RemoveAccount { name } => self.remove_account(name)?,
            // Taken elsewhere, as they have more to tell.
            Step::Command(_) | Step::RestartJob { .. } => false,
        };
        Ok(is_done)
    }

    fn command(&self, command: &Command, say: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        if command.when == When::Changed && !self.has_changed {
            return Ok(());
        }
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        match (self.tools.run(&words), command.failure) {
            (Ok(output), _) => {
                say(&format!("run `{}`", words.join(" ")));
                output.lines().for_each(say);
                Ok(())
            }
            (Err(problem), Failure::Ends) => Err(problem),
            (Err(problem), Failure::Told) => {
                say(&format!(
                    "run `{}`: {}",
                    words.join(" "),
                    crate::error_chain(&problem)
                ));
                Ok(())
            }
            (Err(_), Failure::Expected) => Ok(()),
        }
    }

    fn restart_job(
        &self,
        label: &str,
        check: &[String],
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Problem> {
        if !self.has_changed || !self.tools.is_loaded(label) {
            return Ok(());
        }
        let words: Vec<&str> = check.iter().map(String::as_str).collect();
        if let Err(problem) = self.tools.run(&words) {
            say(&format!(
                "`{label}` is not restarted, and the old program runs on. The new one does not accept: {}",
                crate::error_chain(&problem)
            ));
            return Ok(());
        }
        let job = format!("system/{label}");
        self.tools.run(&["launchctl", "kickstart", "-k", &job])?;
        say(&format!("restart `{label}`"));
        Ok(())
    }

    fn start_job(&self, label: &str, list: &Path) -> Result<bool, Problem> {
        if self.tools.is_loaded(label) {
            return Ok(false);
        }
        // One that somebody disabled cannot be loaded.
        let job = format!("system/{label}");
        self.tools.run(&["launchctl", "enable", &job])?;
        let list = list.display().to_string();
        self.tools
            .run(&["launchctl", "bootstrap", "system", &list])?;
        Ok(true)
    }

    fn stop_job(&self, label: &str) -> Result<bool, Problem> {
        if !self.tools.is_loaded(label) {
            return Ok(false);
        }
        // It comes back before the daemon has ended, and fails where that was just under way.
        let _ = self
            .tools
            .run(&["launchctl", "bootout", &format!("system/{label}")]);
        let give_up_at = Instant::now() + ENDS_WITHIN;
        while self.tools.is_loaded(label) {
            if Instant::now() > give_up_at {
                return Err(Problem::StillRuns);
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
        Ok(true)
    }

    fn remove_account(&self, name: &str) -> Result<bool, Problem> {
        match self.place.system {
            System::Launchd => Accounts::of(&self.tools).remove(name),
            System::Systemd => {
                let is_user = matches!(User::from_name(name), Ok(Some(_)));
                if is_user {
                    self.tools.run(&["userdel", name])?;
                }
                // Usually it went with the user.
                let is_group = matches!(Group::from_name(name), Ok(Some(_)));
                if is_group {
                    self.tools.run(&["groupdel", name])?;
                }
                Ok(is_user || is_group)
            }
        }
    }

    /// User and group, by number. Default: root.
    fn owner(&self, name: Option<&str>) -> Result<(u32, u32), Problem> {
        let Some(name) = name else {
            return Ok((0, 0));
        };
        let unknown = || Problem::NoUser(name.to_owned());
        match self.place.system {
            // The library may not know yet whom the directory service was just told of.
            System::Launchd => {
                let number = Accounts::of(&self.tools).number(accounts::USERS, name);
                let number = number.ok_or_else(unknown)?;
                Ok((number, number))
            }
            System::Systemd => match User::from_name(name) {
                Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
                Ok(None) | Err(_) => Err(unknown()),
            },
        }
    }

    fn directory(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<bool, Problem> {
        let path = self.place.target(path)?;
        let is_new = match fs::create_dir(&path) {
            Err(_) if path.is_dir() => false,
            made => made.map(|()| true)?,
        };
        if !is_new && owner.is_none() {
            return Ok(false);
        }
        let (uid, gid) = owner.unwrap_or((0, 0));
        let there = fs::metadata(&path)?;
        let is_right = (there.uid(), there.gid(), there.mode() & 0o7777) == (uid, gid, mode);
        if !is_right {
            // Before its owner changes: whose it is then could exchange it.
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(is_new || !is_right)
    }

    fn file(&mut self, file: &NewFile) -> Result<bool, Problem> {
        match self.file_differs(file)? {
            Difference::None | Difference::Kept => return Ok(false),
            Difference::Absent | Difference::Content if file.whose == Whose::Ours => {
                self.has_changed = true;
            }
            Difference::Absent | Difference::Content | Difference::Attributes => {}
        }
        let path = self.place.entry(&file.path)?;
        let owner = self.owner(file.owner)?;
        write(&path, &file.content, file.mode, owner)?;
        Ok(true)
    }

    fn file_differs(&self, file: &NewFile) -> Result<Difference, Problem> {
        let path = self.place.entry(&file.path)?;
        let there = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Difference::Absent);
            }
            looked => looked?,
        };
        if file.whose == Whose::Administrators {
            return Ok(Difference::Kept);
        }
        if !has_content(&path, &file.content)? {
            return Ok(Difference::Content);
        }
        let (uid, gid) = self.owner(file.owner)?;
        let is_right = (there.uid(), there.gid(), there.mode() & 0o7777) == (uid, gid, file.mode);
        Ok(if is_right {
            Difference::None
        } else {
            Difference::Attributes
        })
    }

    fn link(&self, path: &Path, to: &Path) -> Result<bool, Problem> {
        let path = self.place.entry(path)?;
        if fs::read_link(&path).is_ok_and(|target| target == to) {
            return Ok(false);
        }
        is_gone(fs::remove_file(&path))?;
        symlink(to, &path)?;
        Ok(true)
    }
}

/// How a file is beside what it should be.
enum Difference {
    None,
    /// It is the administrator's.
    Kept,
    Absent,
    /// Its owner or mode.
    Attributes,
    Content,
}

/// Whether a removal removed anything.
fn is_gone(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}
