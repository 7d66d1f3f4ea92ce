//! One history: what there is, what goes wrong, and when it all heals.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use helix_model::ids::{FriendlyName, JobId, QueueName, WorkItemId};
use helix_proto::agent::v1;
use helix_store::{MemoryStore, NewItem, NewJob, Queue, RetryPlace, Store, Visibility};
use prost::Message;
use tokio::time::Instant;

use super::agent::Machine;
use super::chance::{Chance, Clock, SimulatedWorld};
use super::link::Wires;
use super::store::FaultyStore;
use super::verdict;
use crate::config::{AgentAddress, Config};
use crate::core::{Core, Parts, demand};
use crate::log::LogDirectory;
use crate::storage::Storage;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(240);

/// How long it may take until all has ended once nothing goes wrong any more.
const HEALING: Duration = Duration::from_secs(2 * 60 * 60);

/// A tool that some items want and some machines have.
const TOOL: &str = "tool";

/// What happened, in a few numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What must not be.
    pub(super) problems: Vec<String>,
    /// When all had ended.
    took: Duration,
    /// What is kept in the end.
    fingerprint: String,
}

/// All of it.
struct Scene {
    chance: Chance,
    clock: Arc<Clock>,
    names: Arc<AtomicU64>,
    is_faulty: Arc<AtomicBool>,
    store: MemoryStore,
    machines: Vec<Machine>,
    controllers: Vec<Option<Arc<Core>>>,
    jobs: Vec<JobId>,
    storage: Storage,
    _directory: tempfile::TempDir,
}

/// Plays one history.
pub(super) async fn play(seed: u64) -> Told {
    let mut scene = Scene::new(seed);
    scene.submit().await;
    for index in 0..scene.controllers.len() {
        scene.start(index);
    }
    let began = Instant::now();
    while began.elapsed() < TROUBLE {
        tokio::time::sleep(scene.chance.millis(15_000)).await;
        scene.trouble().await;
    }
    scene.heal();
    let healed = Instant::now();
    let mut problems = Vec::new();
    while !scene.has_ended().await {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if healed.elapsed() > HEALING {
            problems.push(scene.what_is_left().await);
            break;
        }
    }
    let took = began.elapsed();
    // Whoever was taken over from has noticed by then.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for controller in scene.controllers.iter().flatten() {
        let left = controller.attempts().count();
        if problems.is_empty() && left > 0 {
            problems.push(format!("{left} attempts are still looked after"));
        }
    }
    for controller in scene.controllers.iter().flatten() {
        controller.tasks().end();
        controller.tasks().ended().await;
    }
    problems.extend(verdict::judge(&scene.store, &scene.jobs, &scene.machines).await);
    Told {
        problems,
        took,
        fingerprint: verdict::fingerprint(&scene.store, &scene.jobs).await,
    }
}

fn queue_name() -> QueueName {
    QueueName::new("queue").expect("a good name")
}

impl Scene {
    fn new(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let count = 2 + chance.below(3);
        let machines = (0..count)
            .map(|index| {
                // The first has everything, so that nothing waits for ever.
                let tool = (index == 0 || chance.per_mille(500)).then_some(TOOL);
                let slots = 1 + u32::try_from(chance.below(3)).expect("small");
                Machine::new(&format!("machine-{index}"), slots, tool, chance.clone())
            })
            .collect();
        let controllers = 1 + usize::try_from(chance.below(2)).expect("small");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = Storage::folder(directory.path()).expect("a folder");
        Self {
            clock: Arc::new(Clock::new()),
            names: Arc::default(),
            is_faulty: Arc::new(AtomicBool::new(true)),
            store: MemoryStore::new(),
            machines,
            controllers: vec![None; controllers],
            jobs: Vec::new(),
            chance,
            storage,
            _directory: directory,
        }
    }

    async fn submit(&mut self) {
        let deliveries = 1 + u32::try_from(self.chance.below(5)).expect("small");
        let queue = Queue {
            name: queue_name(),
            description: String::new(),
            operating_system_group: String::new(),
            architecture: String::new(),
            max_delivery_count: NonZeroU32::new(deliveries).expect("at least one"),
            visibility: Visibility::Open,
            estimated_removal: None,
            priority: 0,
        };
        self.store.put_queue(queue).await.expect("it is stored");
        for number in 0..=self.chance.below(3) {
            self.submit_job(number).await;
        }
    }

    async fn submit_job(&mut self, number: u64) {
        let items = (0..=self.chance.below(12))
            .map(|item| {
                let id = format!("item-{number}-{item}");
                let template = v1::WorkItem {
                    requirements: if self.chance.per_mille(300) {
                        vec![v1::Requirement {
                            name: TOOL.to_owned(),
                            range: String::new(),
                        }]
                    } else {
                        Vec::new()
                    },
                    ..v1::WorkItem::default()
                };
                NewItem {
                    id: WorkItemId::new(id.as_str()).expect("a good id"),
                    name: FriendlyName::new(id).expect("a good name"),
                    demand: demand(&template),
                    specification: template.encode_to_vec(),
                    retries_requested: u32::try_from(self.chance.below(4)).expect("small"),
                    retry_place: if self.chance.per_mille(300) {
                        RetryPlace::AnotherMachine
                    } else {
                        RetryPlace::Anywhere
                    },
                }
            })
            .collect();
        let id = JobId::new(format!("job-{number}")).expect("a good id");
        let job = NewJob {
            id: id.clone(),
            queue: queue_name(),
            name: "job".to_owned(),
            creator: String::new(),
            source: String::new(),
            priority: 0,
            properties: std::collections::BTreeMap::new(),
            retry_of: None,
            items,
        };
        self.store
            .submit(job, self.clock.now())
            .await
            .expect("it is stored");
        self.jobs.push(id);
    }

    /// Begins a life of a controller.
    fn start(&mut self, index: usize) {
        let mut config = Config::for_loopback(self._directory.path());
        config.agents.configured = self
            .machines
            .iter()
            .map(|machine| AgentAddress(format!("http://{}", machine.name)))
            .collect();
        let core = Arc::new(Core::new(Parts {
            config,
            name: format!("controller-{index}"),
            store: Arc::new(FaultyStore {
                store: self.store.clone(),
                chance: self.chance.clone(),
                is_faulty: Arc::clone(&self.is_faulty),
            }),
            storage: self.storage.clone(),
            logs: LogDirectory::new(&self._directory.path().join("logs")),
            world: Arc::new(SimulatedWorld {
                chance: self.chance.clone(),
                names: Arc::clone(&self.names),
                clock: Arc::clone(&self.clock),
            }),
            addresses: Arc::new(Wires {
                machines: self.machines.clone(),
                store: self.store.clone(),
                is_faulty: Arc::clone(&self.is_faulty),
            }),
        }));
        self.controllers[index] = Some(Arc::clone(&core));
        let beginning = Arc::clone(&core);
        // A process that cannot begin ends, and is started again by whoever looks after it.
        core.tasks().spawn(async move {
            while let Err(error) = crate::controller::begin(&beginning).await {
                tracing::debug!(error = %error, "controller cannot begin");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// Drops a controller wherever it waits.
    fn kill(&mut self, index: usize) {
        if let Some(core) = self.controllers[index].take() {
            core.tasks().end();
        }
    }

    /// Something goes wrong, or something is repaired.
    async fn trouble(&mut self) {
        let index = usize::try_from(self.chance.below(self.machines.len() as u64)).expect("small");
        let machine = self.machines[index].clone();
        let controller =
            usize::try_from(self.chance.below(self.controllers.len() as u64)).expect("small");
        match self.chance.below(15) {
            0..2 => machine.stop(),
            2..4 => machine.start(),
            4 => machine.reboot(),
            5 => machine.wipe(),
            6 => machine.partition(true),
            7..9 => machine.partition(false),
            9..11 => self.kill(controller),
            11..13 => {
                if self.controllers[controller].is_none() {
                    self.start(controller);
                }
            }
            13 => {
                let seconds = i64::try_from(self.chance.below(400)).expect("small") - 200;
                self.clock.set_by(seconds);
            }
            _ => self.cancel().await,
        }
    }

    async fn cancel(&mut self) {
        let job = usize::try_from(self.chance.below(self.jobs.len() as u64)).expect("small");
        let job = self.jobs[job].clone();
        let now = self.clock.now();
        let page = self.store.items(&job, None, 1000).await.expect("a page");
        let item = usize::try_from(self.chance.below(page.entries.len() as u64)).expect("small");
        let item = page.entries[item].id.clone();
        let all = self.chance.per_mille(100);
        let item = (!all).then_some(&item);
        // Through a controller, if there is one, or by a hint of the store alone.
        match self.controllers.iter().flatten().next() {
            Some(core) if self.chance.per_mille(500) => {
                let _ = core.cancel(&job, item, "enough").await;
            }
            _ => {
                let cancelled = self.store.cancel(&job, item, "enough", now).await;
                cancelled.expect("it is there");
            }
        }
    }

    fn heal(&mut self) {
        self.is_faulty.store(false, Ordering::Relaxed);
        for machine in &self.machines {
            machine.start();
            machine.partition(false);
        }
        // One controller is enough: it takes over what the other left.
        if self.controllers.iter().all(Option::is_none) {
            self.start(0);
        }
    }

    async fn has_ended(&self) -> bool {
        for job in &self.jobs {
            let job = self.store.job(job).await.expect("it answers");
            if job.expect("it is there").ended.is_none() {
                return false;
            }
        }
        true
    }

    async fn what_is_left(&self) -> String {
        let mut left = String::from("not all has ended:");
        for job in &self.jobs {
            let page = self.store.items(job, None, 1000).await.expect("a page");
            for item in page.entries {
                if !matches!(item.state, helix_store::ItemState::Ended(_)) {
                    left.push_str(&format!("\n{:?} {:?}", item.id, item.state));
                }
            }
        }
        left
    }
}
