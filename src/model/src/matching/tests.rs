//! Who fits, and who comes nearest.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::resources::ResourcesWanted;
use crate::testing::{at, attempt, capabilities, parsed, requirements, work_item};

fn report(tools: &[&str]) -> AgentReport {
    let total = Resources {
        slots: 4,
        cpu_millis: 4000,
        memory_bytes: 8 << 30,
        disk_bytes: 100 << 30,
    };
    AgentReport {
        state: ReportedState::Ready,
        reasons: Vec::new(),
        version: "1.0".to_owned(),
        queues: Vec::new(),
        operating_system: "Linux".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_id: "boot".to_owned(),
        total,
        free: total,
        running: Vec::new(),
        capabilities: capabilities(tools),
        isolation: Vec::new(),
        degraded: Vec::new(),
    }
}

fn wants(tools: &[&str]) -> WorkItem {
    WorkItem {
        requirements: requirements(tools),
        ..work_item()
    }
}

fn running() -> ReportedAttempt {
    ReportedAttempt {
        attempt: attempt("attempt-9"),
        work_item: parsed("item-9"),
        job: parsed("job-9"),
        friendly_name: parsed("nine"),
        reserved: Resources::default(),
    }
}

#[track_caller]
fn reason(item: &WorkItem, agent: &AgentReport) -> (&'static str, bool) {
    let misfit = could_now(item, agent, agent.free, at(0)).expect_err("it could not");
    assert!(!misfit.sentence().is_empty());
    (misfit.reason(), misfit.passes())
}

#[test]
fn agent_that_has_all_and_room_could_take_it() {
    let agent = report(&["os=linux", "dotnet-sdk@9.0.100"]);
    let item = wants(&["os=linux", "dotnet-sdk 9"]);
    assert_eq!(could_now(&item, &agent, agent.free, at(0)), Ok(()));
    assert_eq!(could_ever(&item, &agent, at(0)), Ok(()));
}

#[test]
fn what_never_changes_is_said_before_what_passes() {
    let mut agent = report(&[]);
    agent.state = ReportedState::Draining { since: at(0) };
    agent.free = Resources::default();
    assert_eq!(
        reason(&wants(&["gpu"]), &agent),
        ("MISSING_CAPABILITY", false)
    );
    assert_eq!(reason(&work_item(), &agent), ("DRAINING", true));
    agent.state = ReportedState::Full;
    assert_eq!(reason(&work_item(), &agent), ("SLOTS_FULL", true));
    agent.queues = vec![parsed("another.queue")];
    assert_eq!(reason(&work_item(), &agent), ("WRONG_QUEUE", false));
}

#[test]
fn agent_that_takes_nothing_says_why_in_its_own_words() {
    let mut agent = report(&[]);
    for (state, expected) in [
        (ReportedState::Offline, "OFFLINE"),
        (ReportedState::Quarantined { until: None }, "UNHEALTHY"),
        (ReportedState::NotIsolated, "NOT_ISOLATED"),
    ] {
        agent.state = state;
        assert_eq!(reason(&work_item(), &agent), (expected, true));
    }
    agent.reasons = vec!["no users are configured".to_owned()];
    let misfit = could_now(&work_item(), &agent, agent.free, at(0)).expect_err("it could not");
    assert_eq!(misfit.sentence(), "no users are configured");
}

#[test]
fn agent_on_probation_takes_one_item_at_a_time() {
    let mut agent = report(&[]);
    agent.state = ReportedState::Probation;
    assert_eq!(could_now(&work_item(), &agent, agent.free, at(0)), Ok(()));
    agent.running.push(running());
    assert_eq!(reason(&work_item(), &agent), ("UNHEALTHY", true));
}

#[track_caller]
fn nearest(item: &WorkItem, agents: &[(&str, &AgentReport)], expected: &[&str]) {
    let agents: BTreeMap<String, &AgentReport> = agents
        .iter()
        .map(|(name, agent)| ((*name).to_owned(), *agent))
        .collect();
    assert_eq!(nearest_misses(item, &agents), expected);
}

#[test]
fn nearest_miss_is_told_for_each_requirement() {
    let old = report(&["xcode@15.4", "os=osx"]);
    let other = report(&["xcode@16.0", "os=osx"]);
    let item = wants(&["xcode >=16.1", "gpu", "os=osx"]);
    nearest(
        &item,
        &[("mac-1", &old), ("mac-2", &other)],
        &[
            "no agent has `xcode >=16.1`: `mac-1` has 15.4; `mac-2` has 16.0",
            "no agent has `gpu` in any version",
        ],
    );
}

#[test]
fn nearest_miss_of_what_is_too_large_or_nowhere_together() {
    let (left, right) = (report(&["gpu"]), report(&["fpga"]));
    let mut item = wants(&["gpu", "fpga"]);
    nearest(
        &item,
        &[("left", &left), ("right", &right)],
        &[
            "each thing that it wants is to be had, but not all of them on one machine; `left` comes \
             nearest and lacks `fpga` (it has none)",
        ],
    );
    item.resources = ResourcesWanted {
        slots: std::num::NonZeroU32::new(9).expect("not 0"),
        ..ResourcesWanted::default()
    };
    nearest(
        &item,
        &[("left", &left), ("right", &right)],
        &["no agent has 9 slots: the largest has 4"],
    );
}

#[test]
fn queue_that_nobody_serves_and_no_agent_at_all_are_said() {
    nearest(&work_item(), &[], &["there is no agent"]);
    let mut agent = report(&[]);
    agent.queues = vec![parsed("another.queue")];
    nearest(
        &work_item(),
        &[("one", &agent)],
        &["no agent serves the queue `ubuntu.2404.amd64`; there is one for other queues"],
    );
}

proptest! {
    #[test]
    fn quick_answer_is_that_of_admission(
        tools in prop::collection::vec(prop::sample::select(&["gpu", "os=linux", "sdk@9.0", "sdk@8.0"][..]), 0..4),
        wanted in prop::collection::vec(prop::sample::select(&["gpu", "os=linux", "sdk 9", "fpga"][..]), 0..3),
        slots in 1_u32..8,
        serves in prop::option::of(prop::sample::select(&["ubuntu.2404.amd64", "other"][..])),
    ) {
        let mut agent = report(&tools);
        agent.queues = serves.into_iter().map(parsed).collect();
        let mut item = wants(&wanted);
        item.resources.slots = std::num::NonZeroU32::new(slots).expect("not 0");
        let could = could_ever(&item, &agent, at(0)).is_ok();
        prop_assert_eq!(fits_ever(&item, &agent), could);
        // Whoever could never run it is a miss of some kind, and nobody else is.
        let agents = BTreeMap::from([("one".to_owned(), &agent)]);
        prop_assert_eq!(nearest_misses(&item, &agents).is_empty(), could);
    }
}
