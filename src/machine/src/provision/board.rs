//! The rules of one provisioner: one installation at a time, one that comes next, and a cool-down
//! for each version that failed. Pure: time and what the probe sees are arguments.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use helix_model::capability::Wanted;
use helix_model::provisioning::{InstallationEnd, Provisioning, ProvisioningPolicy, StartRefused};
use helix_model::version::Version;

/// How many versions' failures are remembered. What is forgotten may be tried again too early, no
/// more.
const MAX_COOLING_DOWN: usize = 64;

/// What is to be installed, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// Which version; none for a provisioner that does not ask for one.
    pub(super) version: Option<Version>,
    /// What the work item wanted, which the probe has to see.
    pub(super) wanted: Wanted,
}

/// Where one provisioner stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Board {
    /// What runs. Its state in `states` is running, and no other's is.
    running: Option<Ask>,
    /// What comes after it.
    next: Option<Ask>,
    /// What is not idle.
    states: BTreeMap<Option<Version>, Provisioning>,
    /// How long the last success took.
    measured: Option<Duration>,
}

/// What becomes of what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The caller starts it.
    Start,
    /// It is under way.
    UnderWay { since: SystemTime },
    /// It comes next.
    Next,
    /// Another comes next.
    Busy,
    /// It failed a short while ago.
    CoolingDown {
        until: SystemTime,
        last_error: String,
    },
    /// It could start if there were space.
    NoSpace,
}

impl Board {
    /// Asks for an installation.
    pub(super) fn ask(
        &mut self,
        ask: Ask,
        has_space: bool,
        policy: &ProvisioningPolicy,
        now: SystemTime,
    ) -> Answer {
        let state = self.own_state(ask.version.as_ref());
        match (state.start(&self.policy(policy), now), &self.running) {
            (Err(StartRefused::UnderWay { since }), _) => Answer::UnderWay { since },
            (Err(StartRefused::CoolingDown { until, last_error }), _) => {
                Answer::CoolingDown { until, last_error }
            }
            (Ok(_), Some(_)) => match &self.next {
                Some(next) if next.version != ask.version => Answer::Busy,
                Some(_) => Answer::Next,
                None => {
                    self.next = Some(ask);
                    Answer::Next
                }
            },
            (Ok(_), None) if !has_space => Answer::NoSpace,
            (Ok(running), None) => {
                self.states.insert(ask.version.clone(), running);
                self.running = Some(ask);
                Answer::Start
            }
        }
    }

    /// Notes how the running installation ended, and starts the next one unless `is_met` says that
    /// what it was wanted for is there. Returns what the caller starts. Without a running
    /// installation nothing happens.
    pub(super) fn end(
        &mut self,
        end: InstallationEnd,
        is_met: impl FnOnce(&Wanted) -> bool,
        policy: &ProvisioningPolicy,
        now: SystemTime,
    ) -> Option<Ask> {
        let ended = self.running.take()?;
        let state = self.own_state(ended.version.as_ref());
        if let (InstallationEnd::Seen, Provisioning::Running { since, .. }) = (&end, &state) {
            self.measured = now.duration_since(*since).ok();
        }
        match state.end(end, policy, now) {
            Ok(state @ Provisioning::CoolingDown { .. }) => {
                self.states.insert(ended.version, state);
                self.forget(now);
            }
            Ok(Provisioning::Idle | Provisioning::Running { .. }) | Err(_) => {
                self.states.remove(&ended.version);
            }
        }
        let next = self.next.take().filter(|next| !is_met(&next.wanted))?;
        match self.ask(next.clone(), true, policy, now) {
            Answer::Start => Some(next),
            Answer::UnderWay { .. }
            | Answer::Next
            | Answer::Busy
            | Answer::CoolingDown { .. }
            | Answer::NoSpace => None,
        }
    }

    /// Where the provisioner stands to a version: running if it installs anything at all.
    pub(super) fn state_for(&self, version: Option<&Version>) -> Provisioning {
        match &self.running {
            Some(running) => self.own_state(running.version.as_ref()),
            None => self.own_state(version),
        }
    }

    /// Every version that is running or still cooling down.
    pub(super) fn states(
        &self,
        now: SystemTime,
    ) -> impl Iterator<Item = (Option<&Version>, &Provisioning)> {
        self.states
            .iter()
            .filter(move |(_, state)| !state.may_start(now))
            .map(|(version, state)| (version.as_ref(), state))
    }

    /// The policy with what has been measured, where it says nothing.
    pub(super) fn policy(&self, policy: &ProvisioningPolicy) -> ProvisioningPolicy {
        ProvisioningPolicy {
            usual_duration: policy.usual_duration.or(self.measured),
            ..*policy
        }
    }

    fn own_state(&self, version: Option<&Version>) -> Provisioning {
        self.states
            .get(&version.cloned())
            .cloned()
            .unwrap_or_default()
    }

    /// Keeps the number of failures that are remembered in bounds; those that end first go first.
    fn forget(&mut self, now: SystemTime) {
        while self.states.len() > MAX_COOLING_DOWN {
            let first = self
                .states
                .iter()
                .filter_map(|(version, state)| match state {
                    Provisioning::CoolingDown { until, .. } => Some((*until, version.clone())),
                    Provisioning::Idle => Some((now, version.clone())),
                    Provisioning::Running { .. } => None,
                })
                .min();
            match first {
                Some((_, version)) => self.states.remove(&version),
                None => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use helix_model::capability::Wanted;
    use helix_model::provisioning::{InstallationEnd, Provisioning, ProvisioningPolicy};
    use helix_model::version::Version;
    use proptest::prelude::*;

    use super::{Answer, Ask, Board, MAX_COOLING_DOWN};

    fn ask(version: &str) -> Ask {
        Ask {
            version: Some(Version::parse(version).expect("it is a version")),
            wanted: Wanted::parse(version).expect("it is wanted"),
        }
    }

    fn policy() -> ProvisioningPolicy {
        ProvisioningPolicy {
            time_limit: Duration::from_secs(1000),
            usual_duration: None,
            first_cool_down: Duration::from_secs(100),
            max_cool_down: Duration::from_secs(10_000),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn failed() -> InstallationEnd {
        InstallationEnd::Failed {
            error: "no network".to_owned(),
        }
    }

    #[test]
    fn same_version_is_started_once() {
        let mut board = Board::default();
        assert_eq!(board.ask(ask("16"), true, &policy(), at(0)), Answer::Start);
        let answer = board.ask(ask("16.0"), true, &policy(), at(5));
        assert_eq!(answer, Answer::UnderWay { since: at(0) });
        assert_eq!(
            board.end(InstallationEnd::Seen, |_| true, &policy(), at(9)),
            None
        );
        assert_eq!(board.ask(ask("16"), true, &policy(), at(10)), Answer::Start);
    }

    #[test]
    fn other_version_comes_next_and_a_third_waits() {
        let mut board = Board::default();
        board.ask(ask("16"), true, &policy(), at(0));
        assert_eq!(board.ask(ask("17"), true, &policy(), at(1)), Answer::Next);
        assert_eq!(board.ask(ask("17"), true, &policy(), at(2)), Answer::Next);
        assert_eq!(board.ask(ask("18"), true, &policy(), at(3)), Answer::Busy);
        let next = board.end(InstallationEnd::Seen, |_| false, &policy(), at(4));
        assert_eq!(next, Some(ask("17")));
        let answer = board.ask(ask("17"), true, &policy(), at(5));
        assert_eq!(answer, Answer::UnderWay { since: at(4) });
    }

    #[test]
    fn next_is_dropped_if_it_is_there_by_then() {
        let mut board = Board::default();
        board.ask(ask("16.1"), true, &policy(), at(0));
        board.ask(ask("16"), true, &policy(), at(1));
        assert_eq!(
            board.end(InstallationEnd::Seen, |_| true, &policy(), at(2)),
            None
        );
        assert_eq!(board.state_for(None), Provisioning::Idle);
    }

    #[test]
    fn failure_cools_down_its_own_version_only() {
        let mut board = Board::default();
        board.ask(ask("99"), true, &policy(), at(0));
        board.end(failed(), |_| false, &policy(), at(10));
        let answer = board.ask(ask("99"), true, &policy(), at(20));
        assert_eq!(
            answer,
            Answer::CoolingDown {
                until: at(110),
                last_error: "no network".to_owned()
            }
        );
        assert_eq!(board.states(at(20)).count(), 1);
        assert_eq!(board.states(at(110)).count(), 0);
        assert_eq!(board.ask(ask("16"), true, &policy(), at(20)), Answer::Start);
        assert_eq!(board.ask(ask("99"), true, &policy(), at(110)), Answer::Next);
    }

    #[test]
    fn lack_of_space_starts_nothing_but_hides_nothing() {
        let mut board = Board::default();
        assert_eq!(
            board.ask(ask("16"), false, &policy(), at(0)),
            Answer::NoSpace
        );
        assert_eq!(board, Board::default());
        board.ask(ask("16"), true, &policy(), at(1));
        let answer = board.ask(ask("16"), false, &policy(), at(2));
        assert_eq!(answer, Answer::UnderWay { since: at(1) });
    }

    #[test]
    fn duration_of_a_success_is_expected_of_the_next() {
        let mut board = Board::default();
        board.ask(ask("16"), true, &policy(), at(0));
        board.end(InstallationEnd::Seen, |_| true, &policy(), at(70));
        board.ask(ask("17"), true, &policy(), at(100));
        let Provisioning::Running { expected_end, .. } = board.state_for(None) else {
            panic!("it runs");
        };
        assert_eq!(expected_end, Some(at(170)));
        // What the configuration says counts more.
        let configured = ProvisioningPolicy {
            usual_duration: Some(Duration::from_secs(5)),
            ..policy()
        };
        assert_eq!(
            board.policy(&configured).usual_duration,
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn failures_without_end_do_not_pile_up_and_the_newest_are_remembered() {
        let mut board = Board::default();
        for number in 0..3 * MAX_COOLING_DOWN as u64 {
            let ask = ask(&number.to_string());
            assert_eq!(board.ask(ask, true, &policy(), at(number)), Answer::Start);
            board.end(failed(), |_| false, &policy(), at(number));
            assert!(board.states.len() <= MAX_COOLING_DOWN);
        }
        let last = 3 * MAX_COOLING_DOWN as u64 - 1;
        let answer = board.ask(ask(&last.to_string()), true, &policy(), at(last));
        assert!(matches!(answer, Answer::CoolingDown { .. }), "{answer:?}");
    }

    #[derive(Debug, Clone)]
    enum Event {
        Ask { version: u8, has_space: bool },
        End { end: InstallationEnd, is_met: bool },
        Wait { seconds: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        let end = prop_oneof![
            Just(InstallationEnd::Seen),
            Just(InstallationEnd::NotSeen),
            Just(failed()),
            Just(InstallationEnd::TimedOut),
        ];
        prop_oneof![
            4 => (0..100_u8, any::<bool>())
                .prop_map(|(version, has_space)| Event::Ask { version, has_space }),
            3 => (end, any::<bool>()).prop_map(|(end, is_met)| Event::End { end, is_met }),
            1 => (0..500_u64).prop_map(|seconds| Event::Wait { seconds }),
        ]
    }

    proptest! {
        // Whatever happens: what the callers were told to start is exactly what runs, one at a
        // time, nothing that is cooling down is started.
        #[test]
        fn one_installation_runs_at_a_time(events in prop::collection::vec(event(), 0..400)) {
            let mut board = Board::default();
            let mut now = at(0);
            let mut started: Option<Ask> = None;
            for event in events {
                let cooling: Vec<_> = board
                    .states
                    .iter()
                    .filter(|(_, state)| matches!(state, Provisioning::CoolingDown { .. }))
                    .filter(|(_, state)| !state.may_start(now))
                    .map(|(version, _)| version.clone())
                    .collect();
                match event {
                    Event::Ask { version, has_space } => {
                        let ask = ask(&version.to_string());
                        if board.ask(ask.clone(), has_space, &policy(), now) == Answer::Start {
                            prop_assert!(has_space && started.is_none());
                            prop_assert!(!cooling.contains(&ask.version));
                            started = Some(ask);
                        }
                    }
                    Event::End { end, is_met } => {
                        let was_running = started.is_some();
                        let next = board.end(end, |_| is_met, &policy(), now);
                        prop_assert!(next.is_none() || (was_running && !is_met));
                        if let Some(next) = &next {
                            prop_assert!(!cooling.contains(&next.version));
                        }
                        started = next;
                    }
                    Event::Wait { seconds } => now += Duration::from_secs(seconds),
                }
                let running: Vec<_> = board
                    .states
                    .iter()
                    .filter(|(_, state)| matches!(state, Provisioning::Running { .. }))
                    .map(|(version, _)| version.clone())
                    .collect();
                let expected: Vec<_> = started.iter().map(|ask| ask.version.clone()).collect();
                prop_assert_eq!(running, expected);
                prop_assert_eq!(&board.running, &started);
                prop_assert!(board.next.is_none() || started.is_some());
            }
        }
    }
}
