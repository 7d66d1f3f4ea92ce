//! The supervisor's life, from the fork to its end.

use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::berth::{Berth, GroupState};
use super::clients::Clients;
use super::command;
use super::course::{Action, Course, Event};
use super::hand_over::reclaim;
use super::output::Output;
use super::set_up::{Post, Spare, cut_loose, take_post};
use super::tree::{Tree, listed};
use super::{Assignment, Job, MAX_JOB_FRAME, SetUp, SetUpError};
use crate::control::{Order, StopReason};
use crate::fault;
use crate::frame::{self, MAX_CONTROL_FRAME};
use crate::identity::ProcessIdentity;
use crate::launcher::{Ground, Vacancy};
use crate::mask::Masker;
use crate::spool::status::{
    Ended, Ending, Launched, ListedProcess, MAX_LISTED, OutOfMemory, OutputTotals, WaitStatus,
};
use crate::spool::{SpoolWriter, UnixNanos, layout};
use crate::sys::{self, ProcessEntry, Received, Signals, StartFailure};

/// How long clients that do not read are waited for at the end.
const LAST_NOTICE: Duration = Duration::from_secs(1);

/// Waits for a job, does it, and ends this process.
pub(crate) fn run(mut launcher: UnixStream, ground: &Ground) -> ! {
    let spare = cut_loose();
    let Ok(Some(job)) = frame::read::<Job>(&mut launcher, MAX_JOB_FRAME) else {
        // The launcher is gone, and with it all reason to be.
        sys::exit_now(0);
    };
    let done = match (spare, job) {
        (Err(error), _) => Err(error),
        (Ok(spare), Job::Supervise(assignment)) => {
            supervise(&mut launcher, ground, spare, *assignment)
        }
        (Ok(_), Job::Reclaim(stay)) => reclaim(&stay, ground).map(|transferred| {
            tell(&mut launcher, &SetUp::Reclaimed(transferred));
            0
        }),
    };
    match done {
        Ok(code) => sys::exit_now(code),
        Err(error) => {
            tell(&mut launcher, &SetUp::Failed(error.into()));
            sys::exit_now(1);
        }
    }
}

/// Runs a command to its end; the exit code of this process, or why there was nothing to run.
fn supervise(
    launcher: &mut UnixStream,
    ground: &Ground,
    Spare { identity, signals }: Spare,
    mut assignment: Assignment,
) -> Result<i32, SetUpError> {
    let masker = Masker::new(std::mem::take(&mut assignment.request.needles))
        .map_err(|error| SetUpError::new("prepare the mask", io::Error::other(error)))?;
    fault::point("supervisor-employed");
    let berth = Berth::take(&assignment, ground)?;
    fault::point("supervisor-berthed");
    let post = match take_post(&assignment) {
        Ok(post) => post,
        Err(error) => {
            berth.leave(GroupState::Clean, Vacancy::Empty);
            return Err(error);
        }
    };
    let Post {
        mut spool,
        listener,
    } = post;
    fault::point("supervisor-posted");
    tell(launcher, &SetUp::Ready(identity.clone()));
    fault::point("supervisor-ready");
    // Its other end is closed when it has heard; this one when this process ends.
    let Assignment {
        request,
        places,
        client_uid,
    } = assignment;
    let mut clients = Clients::new(listener, client_uid);
    let start = Start {
        identity,
        started_at: UnixNanos::now(),
        clock: sys::clock(),
    };
    let ended = match command::start(&request, &places.work, &berth.bounds(ground)) {
        Err(failure) => {
            let program = request.command.first().map(|program| program.as_os_str());
            let program = program.unwrap_or_default().to_string_lossy();
            let mask = |text: String| match &masker {
                Some(masker) => masker.mask_text(&text),
                None => text,
            };
            let mut ended = start.ended(could_not_start(&failure, &program, mask), &spool);
            ended.run_as = berth.run_as();
            let departure = berth.leave(GroupState::Clean, Vacancy::Empty);
            ended.given_back = departure.given_back;
            ended
        }
        Ok(running) => {
            fault::point("supervisor-started");
            spool.write_launched(Launched {
                supervisor: start.identity.clone(),
                command: running.pid,
                started_at: start.started_at,
                run_as: berth.run_as(),
            });
            fault::point("supervisor-launched");
            let supervision = Supervision {
                signals,
                output: Output::new(running.pipes, masker),
                tree: Tree::new(running.pid),
                berth,
                course: Course::new(request.limits.clone(), start.clock),
                grace: request.limits.grace,
                first_byte: spool.position(),
                leftovers: Vec::new(),
                survivors: Vec::new(),
                has_killed: false,
                spool,
                clients,
            };
            // The request may be large, and is of no more use.
            drop(request);
            let ended;
            (ended, spool, clients) = supervision.run(start);
            ended
        }
    };
    Ok(finish(ended, spool, clients))
}

/// Writes the last status and tells everybody; the exit code of this process.
fn finish(ended: Ended, mut spool: SpoolWriter, mut clients: Clients) -> i32 {
    let written = spool.write_ended(ended);
    // Before anybody is told: whoever knows of the end has the spool for itself. A socket that
    // stays behind refuses connections, which says the same as none.
    let _ = spool.directory().remove(layout::CONTROL_SOCKET);
    drop(spool);
    fault::point("supervisor-ended");
    let Ok(status) = written else {
        // The end of this process without a last status is all there is to see.
        return 1;
    };
    clients.tell_ended();
    fault::point("supervisor-told");
    let give_up_at = sys::clock() + LAST_NOTICE;
    while !clients.flush_last() && sys::clock() < give_up_at {
        wait_for(clients.polled_last(), Some(give_up_at));
    }
    // Nobody has to wait for the disk: if the machine crashes before it has the status, the
    // attempt was cut off by that crash, and that is what it will be taken for.
    i32::from(status.sync_data().is_err())
}

fn tell(launcher: &mut UnixStream, message: &SetUp) {
    // A launcher that is gone does not need to know.
    if let Ok(frame) = frame::encode(message, MAX_CONTROL_FRAME) {
        let _ = launcher.write_all(&frame);
    }
}

fn could_not_start(
    failure: &StartFailure,
    program: &str,
    mask: impl FnOnce(String) -> String,
) -> Ending {
    Ending::CouldNotStart {
        step: failure.step,
        errno: failure.source.raw_os_error().unwrap_or(0),
        message: mask(format!("`{program}`: {}", failure.source)),
    }
}

/// When and by whom the command was started.
struct Start {
    identity: ProcessIdentity,
    started_at: UnixNanos,
    clock: Duration,
}

impl Start {
    /// The last status, as far as it is known without a tree.
    fn ended(self, ending: Ending, spool: &SpoolWriter) -> Ended {
        Ended {
            supervisor: self.identity,
            command: None,
            run_as: None,
            ending,
            wait_status: None,
            started_at: self.started_at,
            ended_at: UnixNanos::now(),
            elapsed: sys::clock().saturating_sub(self.clock),
            output: OutputTotals {
                console_bytes: spool.position(),
                raw_bytes: 0,
                dropped_bytes: spool.dropped_bytes(),
                lost_bytes: spool.lost_bytes(),
            },
            leftovers: Vec::new(),
            leftovers_total: 0,
            survivors: Vec::new(),
            usage: sys::usage_of_children(),
            out_of_memory: OutOfMemory::default(),
            given_back: None,
            spool_problems: Vec::new(),
        }
    }
}

/// A command that runs, and all that looks after it.
struct Supervision<'a> {
    signals: Signals,
    output: Output,
    tree: Tree,
    berth: Berth<'a>,
    course: Course,
    grace: Duration,
    /// Console offset of the command's first byte.
    first_byte: u64,
    leftovers: Vec<ProcessEntry>,
    survivors: Vec<ProcessEntry>,
    /// Whether the tree was killed, or what was left of it.
    has_killed: bool,
    spool: SpoolWriter,
    clients: Clients,
}

impl Supervision<'_> {
    fn run(mut self, start: Start) -> (Ended, SpoolWriter, Clients) {
        while !self.course.is_over() {
            let now = sys::clock();
            let notice = self.clients.tell(self.spool.position(), now);
            let wake = self.course.next_tick().into_iter().chain(notice).min();
            let ready = self.wait(wake);
            if ready.output {
                self.read_output();
            }
            if ready.signals {
                self.take_signals();
            }
            if ready.clients {
                self.take_orders();
            }
            self.event(Event::Tick);
        }
        self.output.finish(&mut self.spool);
        fault::point("supervisor-alone");
        let wait_status = self.tree.wait_status();
        let command = self.tree.command();
        let disk_use = sys::disk_use_of(command);
        self.tree.collect();
        let strays = self.berth.end_strays();
        self.leftovers.extend(strays.ended);
        self.survivors.extend(strays.survivors);
        let mut ended = start.ended(self.course.ending(wait_status), &self.spool);
        let was_killed = matches!(
            wait_status,
            Some(WaitStatus::Signalled { signal, .. }) if signal == Signal::SIGKILL as i32
        );
        ended.run_as = self.berth.run_as();
        let group = if self.has_killed || was_killed {
            GroupState::Killed
        } else {
            GroupState::Clean
        };
        let vacancy = if self.survivors.is_empty() {
            strays.vacancy
        } else {
            Vacancy::Uncertain
        };
        let departure = self.berth.leave(group, vacancy);
        fault::point("supervisor-given-back");
        ended.usage.io_bytes = disk_use;
        ended.given_back = departure.given_back;
        ended.command = Some(command);
        ended.wait_status = wait_status;
        if let Some(counted) = departure.counted {
            counted.enter(&mut ended, self.course.has_stopped());
        }
        ended.output.raw_bytes = self.output.raw_bytes();
        let list = |entries: &[ProcessEntry]| -> Vec<ListedProcess> {
            let show = |name: &str| self.output.mask_text(name);
            entries
                .iter()
                .take(MAX_LISTED)
                .map(|entry| listed(entry, show))
                .collect()
        };
        ended.leftovers = list(&self.leftovers);
        ended.leftovers_total = u32::try_from(self.leftovers.len()).unwrap_or(u32::MAX);
        ended.survivors = list(&self.survivors);
        (ended, self.spool, self.clients)
    }

    fn wait(&self, wake: Option<Duration>) -> Ready {
        let signals = std::iter::once((self.signals.as_fd(), PollFlags::POLLIN));
        let pipes = self
            .output
            .open_pipes()
            .map(|pipe| (pipe, PollFlags::POLLIN));
        let ready = wait_for(signals.chain(pipes).chain(self.clients.polled()), wake);
        let pipes = 1..1 + self.output.open_pipes().count();
        Ready {
            signals: ready.first().is_some_and(|ready| *ready),
            clients: ready.iter().skip(pipes.end).any(|ready| *ready),
            output: ready.get(pipes).is_some_and(|pipes| pipes.contains(&true)),
        }
    }

    fn read_output(&mut self) {
        let before = self.output.raw_bytes();
        self.output.read(&mut self.spool);
        if self.output.raw_bytes() != before {
            let produced = self.spool.position() - self.first_byte;
            self.event(Event::Output { produced });
        }
    }

    fn take_signals(&mut self) {
        let mut has_child_ended = false;
        while let Some(received) = self.signals.next() {
            match received {
                Received::Child => has_child_ended = true,
                Received::Terminate => {
                    let (reason, grace) = (StopReason::Interrupt, self.grace);
                    self.event(Event::Stop { reason, grace });
                }
            }
        }
        if has_child_ended {
            self.look_at_tree();
        }
    }

    fn take_orders(&mut self) {
        for order in self.clients.serve() {
            let Order::Stop { reason, grace } = order;
            self.event(Event::Stop { reason, grace });
        }
    }

    fn look_at_tree(&mut self) {
        self.tree.look_at_children();
        if self.tree.wait_status().is_some() {
            let is_gone = self.tree.others(self.berth.group()).is_empty();
            self.event(if is_gone {
                Event::TreeGone
            } else {
                Event::CommandEnded
            });
        }
    }

    fn event(&mut self, event: Event) {
        match self.course.on(event, sys::clock()) {
            Action::Wait => {}
            Action::Ask => self.tree.ask(self.berth.group()),
            Action::Kill => {
                self.leftovers = self.tree.others(self.berth.group());
                self.kill();
            }
            Action::KillAgain => self.kill(),
            Action::Look => self.look_at_tree(),
            Action::GiveUp => self.survivors = self.tree.others(self.berth.group()),
        }
    }

    fn kill(&mut self) {
        self.has_killed = true;
        self.tree.kill(self.berth.group());
        self.look_at_tree();
    }
}

/// What there is to do.
struct Ready {
    signals: bool,
    output: bool,
    clients: bool,
}

/// Waits until something is ready or the time has come; which of them are.
fn wait_for<'a>(
    polled: impl Iterator<Item = (BorrowedFd<'a>, PollFlags)>,
    wake: Option<Duration>,
) -> Vec<bool> {
    let mut polled: Vec<_> = polled.map(|(fd, flags)| PollFd::new(fd, flags)).collect();
    let timeout = match wake {
        None => PollTimeout::NONE,
        // Rounded up: waking early means waking twice. What is too far is looked at again.
        Some(wake) => {
            let left = wake.saturating_sub(sys::clock()).as_micros().div_ceil(1000);
            i32::try_from(left)
                .ok()
                .and_then(|left| PollTimeout::try_from(left).ok())
                .unwrap_or(PollTimeout::MAX)
        }
    };
    // An interrupted wait is like one whose time has come: all is looked at again.
    let _ = poll(&mut polled, timeout);
    polled
        .iter()
        .map(|polled| polled.any().unwrap_or(true))
        .collect()
}
