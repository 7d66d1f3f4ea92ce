//! Making processes: the fork of a supervisor, and the start of a command.
//!
//! A command is started by a clone that shares this process's memory and suspends it until the
//! program is executed (where the system has that): nothing is copied, however large the parent
//! is. Everything that the child needs is prepared before; between clone and execution only system
//! calls are made, and every failure comes back over a pipe that the execution closes.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus as Waited, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, chdir, fchdir};

use super::{own_pid, system};
use crate::control_group::Group;
use crate::identity::ProcessId;
use crate::spool::status::StartStep;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Parent(ProcessId),
    Child,
}

/// Duplicates this process; an error when it has more than one thread.
pub(crate) fn fork() -> io::Result<Fork> {
    if system::thread_count()? != 1 {
        return Err(io::Error::other("the process has threads"));
    }
    // SAFETY: the process has this one thread, so no lock and no half-done work of another is
    // copied into the child, which may go on like any process.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(Fork::Parent(ProcessId(child.as_raw()))),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Ends this process without running what the program it was forked from wants run at its exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` may be called at any time; it runs no code of this process.
    unsafe { libc::_exit(code) }
}

/// A command ready to be started; every string and descriptor is there already.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// Paths tried one after the other; at least one.
    pub(crate) programs: &'a [CString],
    pub(crate) arguments: &'a [CString],
    /// `NAME=value` each.
    pub(crate) environment: &'a [CString],
    pub(crate) directory: BorrowedFd<'a>,
    /// Input, output and error output; none may be numbered below 3.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    pub(crate) umask: u32,
    /// The user to become; `None` to stay this process's.
    pub(crate) confinement: Option<Confinement<'a>>,
    /// The control group to be born in.
    pub(crate) group: Option<&'a Group>,
}

/// What holds a command back that becomes another user.
#[derive(Debug)]
pub(crate) struct Confinement<'a> {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// All its groups; at least one.
    pub(crate) groups: &'a [Gid],
    pub(crate) namespaces: Namespaces,
    /// What it sees as `/tmp`; of no effect without mounts of its own.
    #[cfg_attr(
        target_os = "macos",
        expect(dead_code, reason = "there are no such mounts")
    )]
    pub(crate) temporary: Option<BorrowedFd<'a>>,
    /// All that it may write to, besides devices and `/proc`; `None` to leave that to modes.
    #[cfg_attr(
        target_os = "macos",
        expect(dead_code, reason = "nothing binds a process there")
    )]
    pub(crate) writes_beneath: Option<Vec<BorrowedFd<'a>>>,
    /// Most processes of the user, where no control group limits them.
    pub(crate) processes: Option<u32>,
    /// Where the system asks for one.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "it does not"))]
    pub(crate) out_of_memory_score: i32,
}

/// What of the system a command has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Namespaces {
    /// File systems: a `/tmp` of its own.
    pub(crate) mounts: bool,
    /// Message queues, semaphores, shared memory.
    pub(crate) ipc: bool,
    /// Network devices: nothing but loopback.
    pub(crate) network: bool,
}

/// Why a command did not start, and how far it got.
#[derive(Debug)]
pub(crate) struct StartFailure {
    pub(crate) step: StartStep,
    pub(crate) source: io::Error,
}

/// Starts the command as leader of a session of its own. It runs its program when this returns.
pub(crate) fn start(start: &Start<'_>) -> Result<ProcessId, StartFailure> {
    let failed = |source| StartFailure {
        step: StartStep::Process,
        source,
    };
    let (mut report, reporter) = io::pipe().map_err(failed)?;
    let programs = pointers(start.programs);
    let arguments = pointers(start.arguments);
    let environment = pointers(start.environment);
    let confinement = start
        .confinement
        .as_ref()
        .map(system::Confined::new)
        .transpose();
    let confinement = confinement.map_err(|source| StartFailure {
        step: StartStep::PrivateDirectories,
        source,
    })?;
    // The child begins where this process is: in its own copy of all mounts, if it has one.
    let _there = Elsewhere::enter(start.directory).map_err(|source| StartFailure {
        step: StartStep::EnterDirectory,
        source,
    })?;
    let context = Context {
        programs: programs.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        streams: start.streams.map(|stream| stream.as_raw_fd()),
        umask: libc::mode_t::try_from(start.umask & 0o777).unwrap_or(0o022),
        ignored: ignored_signals(),
        reporter: reporter.as_raw_fd(),
        parent: own_pid().0,
        confinement: confinement.as_ref(),
        entrance: Cell::new(-1),
    };
    let placement = Placement {
        namespaces: start
            .confinement
            .as_ref()
            .map(|it| it.namespaces)
            .unwrap_or_default(),
        group: start.group.map(Group::as_fd),
    };
    // SAFETY: `child_main` takes a pointer to a `Context`, and this one, with all that it points
    // to, lives until the end of this function, which the child (a copy, or running while this
    // process is suspended) does not outlast as far as it uses it. `child_main` makes system calls
    // only, never returns and never unwinds.
    let spawned = unsafe { system::spawn(child_main, (&raw const context).cast(), &placement) };
    let pid = match (spawned, start.group) {
        // Where a child cannot be born in a group it walks in before anything else.
        (Err(error), Some(group)) if cannot_be_born_in_a_group(&error) => {
            let entrance = group.entrance().map_err(failed)?;
            context.entrance.set(entrance.as_raw_fd());
            let placement = Placement {
                group: None,
                ..placement
            };
            // SAFETY: as above; the entrance lives until the end of this block, which the child
            // has left or executed its program by.
            unsafe { system::spawn(child_main, (&raw const context).cast(), &placement) }
        }
        (spawned, _) => spawned,
    }
    .map_err(failed)?;
    drop(reporter);
    let mut failure = [0; Failure::BYTES];
    if report.read_exact(&mut failure).is_err() {
        // The pipe was closed without a word: by the execution of the program.
        return Ok(pid);
    }
    // The child ends as soon as it has told; collected here, it leaves no trace.
    let _ = waitpid(Pid::from_raw(pid.0), None);
    let Failure { step, errno } = Failure::from_bytes(failure);
    Err(StartFailure {
        step,
        source: io::Error::from_raw_os_error(errno),
    })
}

/// This process's working directory, another for a while: `/` again when this is dropped.
struct Elsewhere;

impl Elsewhere {
    fn enter(directory: BorrowedFd<'_>) -> io::Result<Self> {
        fchdir(directory)?;
        Ok(Self)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Nobody can be kept from there.
        let _ = chdir(c"/");
    }
}

/// Sends a signal to every process of a user (`None`: none, only to see whether there is one).
/// All at once: a process that is being made at that moment is not missed.
///
/// Whether there may be any that have not been collected yet: `false` is certain.
///
/// Done by a child that becomes the user first, so nobody else's process can be meant.
pub(crate) fn signal_all_of(uid: Uid, gid: Gid, signal: Option<Signal>) -> io::Result<bool> {
    let errand = Errand {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        signal: signal.map(|signal| signal as c_int),
    };
    if errand.uid == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `errand_main` takes a pointer to an `Errand`, and this one lives until the child has
    // ended; it makes system calls only, never returns and never unwinds.
    let pid = unsafe {
        system::spawn(
            errand_main,
            (&raw const errand).cast(),
            &Placement::default(),
        )
    }?;
    loop {
        match waitpid(Pid::from_raw(pid.0), None) {
            Ok(Waited::Exited(_, Errand::FOUND)) => return Ok(true),
            Ok(Waited::Exited(_, Errand::NOBODY)) => return Ok(false),
            Ok(Waited::Exited(_, errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Ok(Waited::Signaled(..)) => {
                return Err(io::Error::other("the process that was to do it was killed"));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A child that does one thing as another user.
struct Errand {
    uid: libc::uid_t,
    gid: libc::gid_t,
    signal: Option<c_int>,
}

impl Errand {
    /// Exit codes that are no error numbers.
    const NOBODY: c_int = 0;
    const FOUND: c_int = 255;
}

/// # Safety
///
/// `errand` points to an [`Errand`].
unsafe extern "C" fn errand_main(errand: *const c_void) -> ! {
    // SAFETY: as this function's own condition has it; the rest are system calls on numbers.
    let code = unsafe {
        let Errand { uid, gid, signal } = *errand.cast::<Errand>();
        let became = system::set_groups(&[gid])
            .and_then(|()| system::set_group(gid))
            .and_then(|()| system::set_user_that_may_have_no_other_process(uid));
        match became {
            Err(errno) => errno,
            // Anybody else would mean everybody on the machine.
            Ok(()) if libc::getuid() != uid || libc::geteuid() != uid => libc::EPERM,
            Ok(()) => {
                if let Some(signal) = signal {
                    // Everybody whom this user may signal, but not this process. The answer does
                    // not tell whether there was anybody.
                    libc::kill(-1, signal);
                }
                if system::user_may_have_other_processes() {
                    Errand::FOUND
                } else {
                    Errand::NOBODY
                }
            }
        }
    };
    exit_now(code)
}

/// The signals that this process ignores, which it has in common with all it was forked from and
/// does not change. Bit n stands for signal n.
pub(crate) fn ignored_signals() -> u128 {
    static IGNORED: OnceLock<u128> = OnceLock::new();
    *IGNORED.get_or_init(|| {
        let ignored = (1..=system::LAST_SIGNAL).filter(|number| system::is_ignored(*number));
        ignored.fold(0, |all, number| all | 1 << number)
    })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// What the child works with: the arrays end with a null.
struct Context<'a> {
    programs: *const *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    streams: [RawFd; 3],
    umask: libc::mode_t,
    /// Bit n is set when this process ignores signal n.
    ignored: u128,
    reporter: RawFd,
    parent: i32,
    confinement: Option<&'a system::Confined>,
    /// Where to write to enter the control group; -1 when the child is in it.
    entrance: Cell<RawFd>,
}

/// Where a child begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placement<'a> {
    pub(super) namespaces: Namespaces,
    pub(super) group: Option<BorrowedFd<'a>>,
}

fn cannot_be_born_in_a_group(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::E2BIG)
    )
}

#[derive(Clone, Copy)]
struct Failure {
    step: StartStep,
    errno: i32,
}

impl Failure {
    const BYTES: usize = 8;
    const STEPS: [StartStep; 10] = [
        StartStep::Process,
        StartStep::Session,
        StartStep::StandardStreams,
        StartStep::PrivateDirectories,
        StartStep::Network,
        StartStep::Limits,
        StartStep::Identity,
        StartStep::EnterDirectory,
        StartStep::Signals,
        StartStep::Execute,
    ];

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let [e0, e1, e2, e3] = self.errno.to_ne_bytes();
        [self.step as u8, 0, 0, 0, e0, e1, e2, e3]
    }

    fn from_bytes([step, _, _, _, errno @ ..]: [u8; Self::BYTES]) -> Self {
        let step = Self::STEPS.into_iter().find(|known| *known as u8 == step);
        Self {
            step: step.unwrap_or(StartStep::Process),
            errno: i32::from_ne_bytes(errno),
        }
    }
}

/// The child from its first instruction to the execution of the program.
///
/// # Safety
///
/// `context` points to a [`Context`] whose pointers lead to arrays of C strings, each array with a
/// null at its end.
unsafe extern "C" fn child_main(context: *const c_void) -> ! {
    // SAFETY: as this function's own condition has it.
    let failure = unsafe {
        let context = &*context.cast::<Context<'_>>();
        let failure = become_command(context);
        let bytes = failure.to_bytes();
        libc::write(context.reporter, bytes.as_ptr().cast(), bytes.len());
        failure
    };
    // The number is for nobody: the parent has been told.
    exit_now(if failure.errno == 0 { 126 } else { 127 })
}

/// Becomes the command; comes back only with what failed.
///
/// # Safety
///
/// As for [`child_main`]. The memory may be shared with the parent, which stands still: nothing
/// here allocates, locks or unwinds.
unsafe fn become_command(context: &Context<'_>) -> Failure {
    // SAFETY: all of these are system calls that take numbers, or pointers into the context, which
    // are good by this function's own condition.
    unsafe {
        let entrance = context.entrance.get();
        if entrance >= 0 && libc::write(entrance, c"0".as_ptr().cast(), 1) != 1 {
            return failed(StartStep::Process);
        }
        if libc::setsid() < 0 {
            return failed(StartStep::Session);
        }
        for (place, stream) in (0..).zip(context.streams) {
            if libc::dup2(stream, place) < 0 {
                return failed(StartStep::StandardStreams);
            }
        }
        system::close_on_exec_from(3);
        if let Some(confined) = context.confinement
            && let Err((step, errno)) = confined.confine()
        {
            return Failure { step, errno };
        }
        // A change of user would have undone it.
        if let Err(errno) = system::bind_to_parent(context.parent) {
            return Failure {
                step: StartStep::Process,
                errno,
            };
        }
        // It is there already; now as the user that it has become.
        if libc::chdir(c".".as_ptr()) < 0 {
            return failed(StartStep::EnterDirectory);
        }
        libc::umask(context.umask);
        if let Err(failure) = reset_signals(context) {
            return failure;
        }
        execute(context)
    }
}

/// Gives every signal its default action and lets all of them through.
///
/// # Safety
///
/// The caller is a process of its own (its table of actions is not shared).
unsafe fn reset_signals(context: &Context<'_>) -> Result<(), Failure> {
    // SAFETY: the actions set are the default one, so no handler has to be good; the set is
    // initialised by `sigemptyset` before it is used.
    unsafe {
        for number in 1..=system::LAST_SIGNAL {
            // A handler of this process does not outlive the execution anyway.
            if context.ignored & 1 << number != 0 {
                system::set_default_action(number);
            }
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) < 0 {
            return Err(failed(StartStep::Signals));
        }
    }
    Ok(())
}

/// Executes the first program that can be; like a shell, reports one that is there but may not be
/// executed rather than that the others are missing.
///
/// # Safety
///
/// As for [`child_main`].
unsafe fn execute(context: &Context<'_>) -> Failure {
    let mut worst = libc::ENOENT;
    let mut program = context.programs;
    // SAFETY: `program` walks over the array up to the null at its end; `execve` gets C strings
    // and arrays that end with a null.
    unsafe {
        while !(*program).is_null() {
            libc::execve(*program, context.arguments, context.environment);
            match last_errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => worst = libc::EACCES,
                errno => {
                    return Failure {
                        step: StartStep::Execute,
                        errno,
                    };
                }
            }
            program = program.add(1);
        }
    }
    Failure {
        step: StartStep::Execute,
        errno: worst,
    }
}

fn failed(step: StartStep) -> Failure {
    Failure {
        step,
        errno: last_errno(),
    }
}

fn last_errno() -> c_int {
    nix::Error::last_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_has_every_start_step_in_the_order_in_which_they_are_taken() {
        let document = include_str!("../../PRIVILEGES.md");
        let before = [StartStep::WorkingDirectory, StartStep::Pipes];
        let mut place = 0;
        for step in before.into_iter().chain(Failure::STEPS) {
            let name = serde_json::to_string(&step).unwrap();
            let mark = format!("`{}`", name.trim_matches('"'));
            let found = document[place..].find(&mark);
            place += found.unwrap_or_else(|| panic!("{mark} is not there, or too early"));
        }
    }

    #[test]
    fn failure_of_any_step_arrives_as_it_was() {
        for step in Failure::STEPS {
            let errno = libc::EACCES;
            let Failure { step: got, errno } =
                Failure::from_bytes(Failure { step, errno }.to_bytes());
            assert_eq!((got, errno), (step, libc::EACCES));
        }
    }
}
