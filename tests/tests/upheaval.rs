//! Controller, agent, database and the wire between them die at random while work goes through.
#![expect(
    clippy::print_stderr,
    reason = "whoever looks into a failure needs the seed and what was disturbed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use helix_tests::agent::Agent;
use helix_tests::controller::{Controller, agent_by};
use helix_tests::eventually_all;
use helix_tests::postgres::Postgres;
use helix_tests::proxy::Wire;
use serde_json::{Value, json};

const ITEMS: usize = 2000;
const JOBS: usize = 4;
/// Losses of a machine cost deliveries, and there are many here.
const QUEUE: &str = "[[queues]]\nname = \"test\"\nmax_delivery_count = 100\n";

/// What can be taken away at any moment.
struct World {
    controller: Controller,
    wire: Wire,
    agents: Vec<Agent>,
    postgres: Option<Postgres>,
}

/// A generator of which the seed tells all (Steele and others, SplitMix64).
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = std::env::var("HELIX_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.expect("a time after 1970").subsec_nanos().into()
            });
        eprintln!("HELIX_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}

impl World {
    async fn start(postgres: Option<Postgres>) -> Self {
        let store = postgres
            .as_ref()
            .map(|postgres| format!("[store]\nurl = \"{}\"\n", postgres.url()))
            .unwrap_or_default();
        let controller = Controller::start_with(&format!("{store}{QUEUE}")).await;
        let wire = Wire::to(controller.agents_address()).await;
        let mut agents = Vec::new();
        for name in ["first", "second"] {
            agents.push(agent_by(wire.address(), name, 4, "").await);
        }
        Self {
            controller,
            wire,
            agents,
            postgres,
        }
    }

    /// Takes something away and brings it back.
    async fn disturb(&mut self, chance: &mut Chance) -> &'static str {
        match chance.below(8) {
            0 | 1 => {
                self.controller.kill().await;
                self.controller.start_again().await;
                "controller"
            }
            2..=4 => {
                let at = usize::try_from(chance.below(2)).expect("small");
                self.agents[at].kill_and_start_again().await;
                "agent"
            }
            5 => match &mut self.postgres {
                Some(postgres) => {
                    postgres.kill_and_start_again().await;
                    "database"
                }
                None => {
                    self.controller.terminate().await;
                    self.controller.start_again().await;
                    "controller, in order"
                }
            },
            _ => {
                self.wire.cut();
                "wire"
            }
        }
    }

    async fn open_items(&self) -> u64 {
        let mut open = 0;
        for job in 0..JOBS {
            let counts = &self.controller.get(&format!("/jobs/job{job}")).await["counts"];
            for kind in ["waiting", "running"] {
                open += counts[kind].as_u64().expect("a count");
            }
        }
        open
    }
}

/// An item says who it is to a file of its own. One in five fails in its first attempts.
fn item(number: usize, diary: &Path) -> Value {
    let line = format!(
        "echo $HELIX_WORKITEM_ATTEMPT_ID >>{}/{number}; echo item {number}",
        diary.display()
    );
    let line = match number % 10 {
        3 => format!("{line}; [ $(wc -l <{}/{number}) -ge 2 ]", diary.display()),
        7 => format!("{line}; exit 7"),
        _ => line,
    };
    json!({ "name": number.to_string(), "retries": 1, "command": { "shell": line } })
}

async fn everything_ends_once_whatever_dies(postgres: Option<Postgres>) {
    let mut chance = Chance::new();
    let diary = tempfile::tempdir().expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(diary.path(), mode).expect("a mode");
    let mut world = World::start(postgres).await;
    for job in 0..JOBS {
        let items = (job..ITEMS)
            .step_by(JOBS)
            .map(|number| item(number, diary.path()))
            .collect();
        world.controller.submit(&format!("job{job}"), items).await;
    }
    let mut disturbed: BTreeMap<&str, usize> = BTreeMap::new();
    loop {
        let open = world.open_items().await;
        if open == 0 {
            break;
        }
        // Somewhere between two steps of something: this is no wait for a condition.
        let pause = Duration::from_millis(chance.below(1500));
        tokio::time::sleep(pause).await;
        let what = world.disturb(&mut chance).await;
        *disturbed.entry(what).or_default() += 1;
    }
    eprintln!("disturbed: {disturbed:?}");
    eventually_all("nothing runs any more", async || {
        match world.open_items().await {
            0 => Ok(()),
            open => Err(open),
        }
    })
    .await;

    let mut ended = 0;
    for job in 0..JOBS {
        let name = format!("job{job}");
        world.controller.ended(&name).await;
        let ends = ends_told(&world.controller, &name).await;
        for item in world.controller.items(&name).await {
            let id = item["id"].as_str().expect("an id");
            assert_eq!(ends.get(id), Some(&1), "{item}");
            check(&world.controller, &name, &item, diary.path()).await;
            ended += 1;
        }
    }
    assert_eq!(ended, ITEMS);
}

/// How often each item was said to have ended.
async fn ends_told(controller: &Controller, job: &str) -> BTreeMap<String, usize> {
    let (mut ends, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = controller
            .get(&format!("/jobs/{job}/events?after={after}&limit=1000"))
            .await;
        let events = page["events"].as_array().expect("events");
        if events.is_empty() {
            return ends;
        }
        for event in events {
            if event["kind"] == "item_ended" {
                let item = event["item"].as_str().expect("an item").to_owned();
                *ends.entry(item).or_default() += 1;
            }
        }
        after = page["next"].as_u64().expect("a number");
    }
}

/// Whether an item ended as it should, by what it says itself and by what the controller says.
async fn check(controller: &Controller, job: &str, item: &Value, diary: &Path) {
    let id = item["id"].as_str().expect("an id");
    let detail = controller.get(&format!("/jobs/{job}/items/{id}")).await;
    let attempts = detail["attempts"].as_array().expect("attempts");
    let number: usize = item["name"]
        .as_str()
        .and_then(|name| name.parse().ok())
        .expect("a number");
    let lines = std::fs::read_to_string(diary.join(number.to_string())).expect("it ran");
    let lines: Vec<&str> = lines.lines().collect();
    let ran: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(ran.len(), lines.len(), "an attempt ran twice: {detail}");
    let known: BTreeSet<&str> = attempts
        .iter()
        .map(|attempt| attempt["id"].as_str().expect("an id"))
        .collect();
    assert!(ran.is_subset(&known), "{ran:?} {detail}");
    let of_state = |state: &str| attempts.iter().filter(|one| one["state"] == state).count();
    let (passed, failed) = (of_state("passed"), of_state("failed"));
    let nothing_learned = of_state("infrastructure") + of_state("lost") + of_state("refused");
    assert_eq!(
        passed + failed + nothing_learned,
        attempts.len(),
        "{detail}"
    );
    let expected = match number % 10 {
        // It fails the first time that it runs, whatever became of that attempt.
        3 if passed == 1 => {
            for attempt in attempts {
                let is_first = attempt["id"] == lines[0];
                match attempt["state"].as_str() {
                    Some("failed") => assert!(is_first, "{detail}"),
                    Some("passed") => assert!(!is_first, "{detail}"),
                    _ => {}
                }
            }
            match failed {
                0 => "passed",
                _ => "passed_on_retry",
            }
        }
        7 => {
            assert_eq!((passed, failed), (0, 2), "{detail}");
            "failed"
        }
        _ => {
            assert_eq!((passed, failed), (1, 0), "{detail}");
            "passed"
        }
    };
    assert_eq!(item["state"], expected, "{detail}");
    let last = attempts.len();
    if number.is_multiple_of(50) {
        let log = controller.log_of(job, id, last).await;
        assert!(log.contains(&format!("item {number}\n")), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_items_end_once_on_the_embedded_store_whatever_dies() {
    everything_ends_once_whatever_dies(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_items_end_once_on_postgresql_whatever_dies() {
    if let Some(postgres) = Postgres::start().await {
        everything_ends_once_whatever_dies(Some(postgres)).await;
    }
}
