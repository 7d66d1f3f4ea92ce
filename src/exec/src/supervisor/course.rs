//! The course of one attempt as a pure function of (phase, event, now): when the tree is asked to
//! end, when it is killed, when the supervisor gives up on it, and what the ending is called.

use std::time::Duration;

use crate::control::StopReason;
use crate::request::Limits;
use crate::spool::status::{Ending, WaitStatus};

/// How often a tree that is being killed is looked at again.
const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a tree that is being killed may take: beyond it, what is left hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// How often a tree that was asked to end is looked at, where nobody tells of its changes.
const ASKED_INTERVAL: Duration = Duration::from_millis(50);

/// How long those who outlive the command may take to end by themselves before they count as left
/// over: a `tee` at the end of a pipe sees only now that there is no more to come, and still has
/// the last lines to write.
const LINGER: Duration = Duration::from_millis(100);

/// Where the attempt stands. Times are of the clock that all events carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The command runs.
    Running { silent_since: Duration },
    /// The tree was asked to end and has its grace period.
    Stopping {
        kill_at: Duration,
        look_at: Duration,
    },
    /// The command has ended, and the rest of its tree may be about to.
    Lingering { kill_at: Duration },
    /// What is left of the tree is killed.
    Killing {
        look_at: Duration,
        give_up_at: Duration,
    },
    /// Nothing is left, or nothing that can be killed.
    Over,
}

/// Why the tree is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Wall(Duration),
    Silence(Duration),
    Output(u64),
    Asked(StopReason),
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Bytes came; so many in all.
    Output { produced: u64 },
    /// The command has ended and others of its tree live.
    CommandEnded,
    /// The command has ended and nobody else lives.
    TreeGone,
    /// A client, or the system, wants it stopped.
    Stop { reason: StopReason, grace: Duration },
    /// Nothing, but time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Wait,
    /// Ask the whole tree to end.
    Ask,
    /// Take down who else lives, and kill all of it. After that only [`Action::KillAgain`] comes.
    Kill,
    /// Look whether the tree is gone; kill what is not.
    KillAgain,
    /// Look whether the tree is gone.
    Look,
    /// Leave what is left.
    GiveUp,
}

/// The course of one attempt.
#[derive(Debug)]
pub(super) struct Course {
    limits: Limits,
    started: Duration,
    phase: Phase,
    cause: Option<Cause>,
}

impl Course {
    pub(super) fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            started: now,
            phase: Phase::Running { silent_since: now },
            cause: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes one event; what is to be done about it.
    pub(super) fn on(&mut self, event: Event, now: Duration) -> Action {
        match (self.phase, event) {
            (Phase::Over, _) => Action::Wait,
            (_, Event::TreeGone) => {
                self.phase = Phase::Over;
                Action::Wait
            }
            (Phase::Running { .. }, Event::Output { produced }) => {
                self.phase = Phase::Running { silent_since: now };
                match self.limits.output_bytes {
                    Some(limit) if produced > limit => {
                        self.stop(Cause::Output(limit), self.limits.grace, now)
                    }
                    _ => Action::Wait,
                }
            }
            (Phase::Running { .. }, Event::CommandEnded) => {
                self.phase = Phase::Lingering {
                    kill_at: now + LINGER,
                };
                Action::Wait
            }
            (Phase::Running { .. }, Event::Stop { reason, grace }) => {
                self.stop(Cause::Asked(reason), grace, now)
            }
            (Phase::Running { silent_since }, Event::Tick) => {
                match (self.limits.wall, self.limits.silence) {
                    (Some(limit), _) if now >= self.started.saturating_add(limit) => {
                        self.stop(Cause::Wall(limit), self.limits.grace, now)
                    }
                    (_, Some(limit)) if now >= silent_since.saturating_add(limit) => {
                        self.stop(Cause::Silence(limit), self.limits.grace, now)
                    }
                    _ => Action::Wait,
                }
            }
            (Phase::Stopping { kill_at, look_at }, Event::Stop { grace, .. }) => {
                let kill_at = kill_at.min(now.saturating_add(grace));
                self.phase = Phase::Stopping { kill_at, look_at };
                self.on(Event::Tick, now)
            }
            (Phase::Stopping { kill_at, .. } | Phase::Lingering { kill_at }, Event::Tick)
                if now >= kill_at =>
            {
                self.kill(now)
            }
            // The command's own end came first, so a stop changes nothing about the ending.
            (Phase::Lingering { .. }, Event::Stop { .. }) => self.kill(now),
            (Phase::Stopping { kill_at, look_at }, Event::Tick) if now >= look_at => {
                let look_at = now + ASKED_INTERVAL;
                self.phase = Phase::Stopping { kill_at, look_at };
                Action::Look
            }
            (
                Phase::Killing {
                    look_at,
                    give_up_at,
                },
                Event::Tick,
            ) if now >= look_at => {
                if now >= give_up_at {
                    self.phase = Phase::Over;
                    return Action::GiveUp;
                }
                self.phase = Phase::Killing {
                    look_at: now + KILL_INTERVAL,
                    give_up_at,
                };
                Action::KillAgain
            }
            // A tree in its grace period keeps it when the command goes first; one that is being
            // killed has nothing more to lose.
            (
                Phase::Stopping { .. } | Phase::Lingering { .. },
                Event::Output { .. } | Event::CommandEnded | Event::Tick,
            )
            | (Phase::Killing { .. }, _) => Action::Wait,
        }
    }

    /// When the next [`Event::Tick`] is due; `None` when nothing waits for one.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        match self.phase {
            Phase::Running { silent_since } => {
                let wall = self
                    .limits
                    .wall
                    .map(|limit| self.started.saturating_add(limit));
                let silence = self
                    .limits
                    .silence
                    .map(|limit| silent_since.saturating_add(limit));
                wall.into_iter().chain(silence).min()
            }
            Phase::Stopping { kill_at, look_at } => Some(kill_at.min(look_at)),
            // Looked at again only when a child ends, and at the end.
            Phase::Lingering { kill_at } => Some(kill_at),
            Phase::Killing { look_at, .. } => Some(look_at),
            Phase::Over => None,
        }
    }

    /// Whether the command was stopped and did not end by itself.
    pub(super) fn has_stopped(&self) -> bool {
        self.cause.is_some()
    }

    /// What ended the command.
    pub(super) fn ending(&self, wait_status: Option<WaitStatus>) -> Ending {
        match (self.cause, wait_status) {
            (Some(Cause::Wall(limit)), _) => Ending::WallTimeout { limit },
            (Some(Cause::Silence(limit)), _) => Ending::SilenceTimeout { limit },
            (Some(Cause::Output(limit)), _) => Ending::OutputLimit { limit },
            (Some(Cause::Asked(StopReason::Cancel)), _) => Ending::Cancelled,
            // Without a cause the course ends only after the command has.
            (Some(Cause::Asked(StopReason::Interrupt)), _) | (None, None) => Ending::Interrupted,
            (None, Some(WaitStatus::Exited(code))) => Ending::Exited { code },
            (
                None,
                Some(WaitStatus::Signalled {
                    signal,
                    core_dumped,
                }),
            ) => Ending::Signalled {
                signal,
                core_dumped,
            },
        }
    }

    fn stop(&mut self, cause: Cause, grace: Duration, now: Duration) -> Action {
        self.cause = Some(cause);
        if grace.is_zero() {
            return self.kill(now);
        }
        let kill_at = now.saturating_add(grace);
        self.phase = Phase::Stopping {
            kill_at,
            look_at: now + ASKED_INTERVAL,
        };
        Action::Ask
    }

    fn kill(&mut self, now: Duration) -> Action {
        self.phase = Phase::Killing {
            look_at: now + KILL_INTERVAL,
            give_up_at: now + KILL_LIMIT,
        };
        Action::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const EXITED: Option<WaitStatus> = Some(WaitStatus::Exited(0));

    fn limits() -> Limits {
        Limits {
            wall: Some(100 * SECOND),
            silence: Some(10 * SECOND),
            grace: 5 * SECOND,
            output_bytes: Some(1000),
        }
    }

    /// Plays the events, each with its second; what came of the last.
    fn play(events: &[(u32, Event)]) -> (Course, Action) {
        let mut course = Course::new(limits(), Duration::ZERO);
        let mut action = Action::Wait;
        for (second, event) in events {
            action = course.on(*event, *second * SECOND);
        }
        (course, action)
    }

    fn check(events: &[(u32, Event)], action: Action, ending: &Ending) {
        let (course, last) = play(events);
        assert_eq!(last, action, "{events:?}");
        assert_eq!(course.ending(EXITED), *ending, "{events:?}");
    }

    const CANCEL: Event = Event::Stop {
        reason: StopReason::Cancel,
        grace: SECOND,
    };
    const INTERRUPT: Event = Event::Stop {
        reason: StopReason::Interrupt,
        grace: Duration::ZERO,
    };
    const OUTPUT: Event = Event::Output { produced: 1 };
    const EXIT: Ending = Ending::Exited { code: 0 };
    const SILENCE: Ending = Ending::SilenceTimeout {
        limit: Duration::from_secs(10),
    };

    #[test]
    fn each_limit_asks_first_and_names_the_ending() {
        let wall = Ending::WallTimeout {
            limit: 100 * SECOND,
        };
        check(&[(9, Event::Tick)], Action::Wait, &EXIT);
        check(&[(10, Event::Tick)], Action::Ask, &SILENCE);
        check(&[(9, OUTPUT), (18, Event::Tick)], Action::Wait, &EXIT);
        check(&[(9, OUTPUT), (19, Event::Tick)], Action::Ask, &SILENCE);
        check(&[(95, OUTPUT), (100, Event::Tick)], Action::Ask, &wall);
        check(
            &[(1, Event::Output { produced: 1000 })],
            Action::Wait,
            &EXIT,
        );
        let limit = Ending::OutputLimit { limit: 1000 };
        check(
            &[(1, Event::Output { produced: 1001 })],
            Action::Ask,
            &limit,
        );
        check(&[(1, CANCEL)], Action::Ask, &Ending::Cancelled);
        check(&[(1, INTERRUPT)], Action::Kill, &Ending::Interrupted);
    }

    #[test]
    fn first_cause_stays_and_the_earliest_kill_counts() {
        check(
            &[(10, Event::Tick), (11, CANCEL), (12, Event::Tick)],
            Action::Kill,
            &SILENCE,
        );
        check(
            &[(10, Event::Tick), (14, CANCEL), (15, Event::Tick)],
            Action::Kill,
            &SILENCE,
        );
        check(
            &[(10, Event::Tick), (11, INTERRUPT)],
            Action::Kill,
            &SILENCE,
        );
        check(
            &[(1, CANCEL), (1, OUTPUT), (2, Event::Tick)],
            Action::Kill,
            &Ending::Cancelled,
        );
    }

    #[test]
    fn command_that_ends_alone_takes_its_tree_along() {
        check(&[(1, Event::CommandEnded)], Action::Wait, &EXIT);
        check(
            &[(1, Event::CommandEnded), (2, Event::Tick)],
            Action::Kill,
            &EXIT,
        );
        check(
            &[(1, Event::CommandEnded), (1, CANCEL)],
            Action::Kill,
            &EXIT,
        );
        let (course, _) = play(&[(1, Event::TreeGone)]);
        assert!(course.is_over() && course.next_tick().is_none());
    }

    #[test]
    fn tree_in_its_grace_period_outlives_the_command() {
        let events = [(1, CANCEL), (1, Event::CommandEnded)];
        check(&events, Action::Wait, &Ending::Cancelled);
        check(
            &[(1, CANCEL), (1, Event::CommandEnded), (2, Event::Tick)],
            Action::Kill,
            &Ending::Cancelled,
        );
    }

    #[test]
    fn tree_that_cannot_be_killed_is_given_up() {
        let mut course = Course::new(limits(), Duration::ZERO);
        assert_eq!(course.on(INTERRUPT, SECOND), Action::Kill);
        let mut again = 0;
        loop {
            let now = course.next_tick().unwrap();
            match course.on(Event::Tick, now) {
                Action::KillAgain => again += 1,
                action => break assert_eq!(action, Action::GiveUp),
            }
        }
        assert!(again > 100 && course.is_over());
        assert_eq!(course.ending(None), Ending::Interrupted);
    }

    #[test]
    fn every_tick_that_is_announced_does_something() {
        let starts: [&[(u32, Event)]; 4] = [
            &[],
            &[(1, CANCEL)],
            &[(3, OUTPUT)],
            &[(1, Event::CommandEnded)],
        ];
        for events in starts {
            let (mut course, _) = play(events);
            let tick = course.next_tick().unwrap();
            assert_ne!(course.on(Event::Tick, tick), Action::Wait, "{events:?}");
            assert!(
                course.next_tick().is_none_or(|next| next > tick),
                "{events:?}"
            );
        }
    }

    #[test]
    fn limits_beyond_all_time_never_come() {
        let limits = Limits {
            wall: Some(Duration::MAX),
            silence: Some(Duration::MAX),
            ..limits()
        };
        let mut course = Course::new(limits, SECOND);
        assert_eq!(course.on(Event::Tick, 1_000_000 * SECOND), Action::Wait);
    }
}
