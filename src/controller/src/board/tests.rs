//! Which waiting items the board gives to which agents, and which it does not.

use std::time::{Duration, SystemTime};

use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue};
use helix_model::ids::FriendlyName;
use helix_model::matching::{ReportedAttempt, ReportedState};
use helix_proto::agent::v1;

use super::*;
use crate::core::demand;

fn amount(slots: u32) -> Resources {
    Resources {
        slots,
        ..Resources::default()
    }
}

/// What an agent says that runs these, of so many slots.
fn report(slots: u32, running: &[&AttemptId]) -> AgentReport {
    let used = u32::try_from(running.len()).expect("few");
    let running = running
        .iter()
        .map(|attempt| ReportedAttempt {
            attempt: (*attempt).clone(),
            work_item: "item".parse().expect("good"),
            job: "job".parse().expect("good"),
            friendly_name: FriendlyName::new("item").expect("good"),
            reserved: amount(1),
        })
        .collect();
    AgentReport {
        state: ReportedState::Ready,
        reasons: Vec::new(),
        version: String::new(),
        queues: Vec::new(),
        operating_system: String::new(),
        architecture: String::new(),
        boot_id: String::new(),
        total: amount(slots),
        free: amount(slots - used),
        running,
        capabilities: CapabilitySet::new(),
        isolation: Vec::new(),
        degraded: Vec::new(),
    }
}

fn agent(name: &str) -> AgentName {
    AgentName(name.to_owned())
}

fn lane(id: i64, job: &str, waiting: u64, tool: Option<&str>) -> helix_store::Lane {
    let requirements = tool.map(|name| v1::Requirement {
        name: name.to_owned(),
        range: String::new(),
    });
    let template = v1::WorkItem {
        requirements: requirements.into_iter().collect(),
        ..v1::WorkItem::default()
    };
    helix_store::Lane {
        id: LaneId(id),
        job: job.parse().expect("good"),
        queue: "queue".parse().expect("good"),
        queue_priority: 0,
        job_priority: 0,
        created: SystemTime::UNIX_EPOCH,
        demand: demand(&template),
        waiting,
        not_before: None,
        job_running: 0,
    }
}

/// A board with names that count up.
struct Table {
    board: Board,
    names: u32,
    now: Instant,
}

impl Table {
    fn new() -> Self {
        Self {
            board: Board::default(),
            names: 0,
            now: Instant::now(),
        }
    }

    fn lanes(&mut self, lanes: Vec<helix_store::Lane>) {
        self.board.begin_reading();
        self.board
            .set_lanes(lanes, self.now, SystemTime::UNIX_EPOCH);
    }

    fn plan(&mut self) -> Vec<Plan> {
        let names = &mut self.names;
        self.board.plan(self.now, || {
            *names += 1;
            AttemptId::new(format!("attempt-{names}")).expect("good")
        })
    }

    /// How many were planned for each agent.
    fn shares(&mut self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for plan in self.plan() {
            *shares.entry(plan.agent.0).or_default() += plan.attempts.len();
        }
        shares
    }

    fn take_all(&mut self, plans: &[Plan]) -> Vec<AttemptId> {
        for plan in plans {
            let ids = plan.attempts.iter().cloned().collect();
            assert!(!self.board.taken(plan, &ids, self.now), "all was taken");
        }
        plans
            .iter()
            .flat_map(|plan| plan.attempts.clone())
            .collect()
    }
}

fn shares(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn few_items_are_spread_over_the_idle_and_many_fill_all() {
    let mut table = Table::new();
    for name in ["a", "b", "c"] {
        table.board.reported(&agent(name), report(4, &[]));
    }
    table.lanes(vec![lane(1, "job", 3, None)]);
    assert_eq!(table.shares(), shares(&[("a", 1), ("b", 1), ("c", 1)]));
    table.lanes(vec![lane(1, "job", 100, None)]);
    assert_eq!(table.shares(), shares(&[("a", 3), ("b", 3), ("c", 3)]));
    assert!(table.plan().is_empty());
}

#[tokio::test]
async fn late_report_leads_to_neither_too_many_nor_too_few() {
    let mut table = Table::new();
    let name = agent("a");
    table.board.reported(&name, report(2, &[]));
    table.lanes(vec![lane(1, "job", 100, None)]);
    let plans = table.plan();
    let first = table.take_all(&plans);
    assert_eq!(first.len(), 2);
    // Made before the agent had heard of them.
    table.board.reported(&name, report(2, &[]));
    assert!(table.plan().is_empty());
    table
        .board
        .reported(&name, report(2, &[&first[0], &first[1]]));
    assert!(table.plan().is_empty());
    // One ends, which the report does not know yet.
    table.board.released(&name, &first[0]);
    let plans = table.plan();
    let second = table.take_all(&plans);
    assert_eq!(second.len(), 1);
    table
        .board
        .reported(&name, report(2, &[&first[0], &first[1]]));
    assert!(table.plan().is_empty(), "the report is from before the end");
    table
        .board
        .reported(&name, report(2, &[&first[1], &second[0]]));
    assert!(table.plan().is_empty());
}

#[tokio::test]
async fn what_others_run_there_counts_and_is_told() {
    let mut table = Table::new();
    let stranger = AttemptId::new("stranger").expect("good");
    let strangers = table.board.reported(&agent("a"), report(2, &[&stranger]));
    assert_eq!(strangers, [stranger]);
    table.lanes(vec![lane(1, "job", 9, None)]);
    assert_eq!(table.shares(), shares(&[("a", 1)]));
}

#[tokio::test]
async fn tools_decide_who_gets_what() {
    let mut table = Table::new();
    let mut able = report(2, &[]);
    let gpu = CapabilityName::new("gpu").expect("good");
    able.capabilities.add(gpu, CapabilityValue::Label);
    table.board.reported(&agent("plain"), report(2, &[]));
    table.lanes(vec![lane(1, "job", 1, Some("gpu"))]);
    assert!(table.plan().is_empty());
    assert_eq!(table.board.hopeless(), 1);
    table.board.reported(&agent("able"), able);
    assert_eq!(table.board.hopeless(), 0);
    assert_eq!(table.shares(), shares(&[("able", 1)]));
}

#[tokio::test]
async fn small_job_is_served_beside_a_huge_one() {
    let mut table = Table::new();
    table.board.reported(&agent("a"), report(4, &[]));
    table.lanes(vec![
        lane(1, "huge", 1_000_000, None),
        lane(2, "small", 2, None),
    ]);
    let plans = table.plan();
    let of = |id| {
        let plans = plans.iter().filter(|plan| plan.lane == LaneId(id));
        plans.map(|plan| plan.attempts.len()).sum::<usize>()
    };
    assert_eq!((of(1), of(2)), (2, 2));
}

#[tokio::test]
async fn nothing_new_goes_to_an_agent_before_what_was_taken_over_is_attached() {
    let mut table = Table::new();
    let (name, old) = (agent("a"), AttemptId::new("old").expect("good"));
    let held = HeldAt {
        reserve: amount(1),
        job: "job".parse().expect("good"),
    };
    table.board.adopted(&name, &old, held);
    table.board.reported(&name, report(3, &[&old]));
    table.lanes(vec![lane(1, "job", 9, None)]);
    assert!(table.plan().is_empty());
    table.board.attached(&name, &old);
    assert_eq!(table.shares(), shares(&[("a", 2)]));
}

#[tokio::test]
async fn refused_want_waits_and_others_do_not() {
    let mut table = Table::new();
    let name = agent("a");
    let mut able = report(4, &[]);
    let gpu = CapabilityName::new("gpu").expect("good");
    able.capabilities.add(gpu, CapabilityValue::Label);
    table.board.reported(&name, able);
    table.lanes(vec![lane(1, "job", 1, Some("gpu"))]);
    let plans = table.plan();
    let taken = table.take_all(&plans);
    let until = table.now + Duration::from_secs(10);
    table.board.refused(&name, &plans[0].want, false, until);
    table.board.released(&name, &taken[0]);
    table.lanes(vec![
        lane(1, "job", 1, Some("gpu")),
        lane(2, "other", 1, None),
    ]);
    let plans = table.plan();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].lane, LaneId(2));
    assert_eq!(table.board.next_due(), Some(until));
    table.now = until;
    assert_eq!(table.plan()[0].lane, LaneId(1));
}

#[tokio::test]
async fn lane_that_gives_nothing_is_not_asked_without_rest() {
    let mut table = Table::new();
    for name in ["a", "b", "c", "d"] {
        table.board.reported(&agent(name), report(1, &[]));
    }
    table.lanes(vec![lane(1, "job", 1, None)]);
    let mut asked = 0;
    loop {
        let plans = table.plan();
        let Some(plan) = plans.first() else { break };
        assert!(table.board.taken(plan, &BTreeSet::new(), table.now));
        asked += 1;
    }
    assert_eq!(asked, 3, "each once, and then the lane is left alone");
    let due = table.board.next_due().expect("it is looked at again");
    table.now = due;
    assert_eq!(table.plan().len(), 1);
}

#[tokio::test]
async fn reading_that_overlaps_a_take_is_put_right_by_the_next() {
    let mut table = Table::new();
    table.board.reported(&agent("a"), report(1, &[]));
    table.lanes(vec![lane(1, "job", 2, None)]);
    let plans = table.plan();
    // Read before the commit, or after: nobody knows.
    table.lanes(vec![lane(1, "job", 2, None)]);
    let ids = plans[0].attempts.iter().cloned().collect();
    assert!(
        table.board.taken(&plans[0], &ids, table.now),
        "to be read again"
    );
    table.lanes(vec![lane(1, "job", 1, None)]);
    assert_eq!(table.board.waiting(), 1);
    table.board.released(&agent("a"), &plans[0].attempts[0]);
    assert_eq!(table.shares(), shares(&[("a", 1)]));
}

/// Ten thousand agents and a million items: what one event costs must not depend on either.
#[tokio::test]
async fn one_event_costs_little_among_very_many() {
    let mut table = Table::new();
    let name = |index: u32| agent(&format!("agent-{index}"));
    for index in 0..10_000 {
        table.board.reported(&name(index), report(1, &[]));
    }
    let lanes = (0..100).map(|id| lane(id, &format!("job-{id}"), 10_000, None));
    table.lanes(lanes.collect());
    let plans = table.plan();
    assert_eq!(plans.len(), 10_000);
    let began = std::time::Instant::now();
    table.take_all(&plans);
    for plan in &plans {
        table.board.released(&plan.agent, &plan.attempts[0]);
        let next = table.plan();
        assert_eq!(next.len(), 1);
        table.take_all(&next);
    }
    // Far above what it takes, far below what looking at all of them would.
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}
