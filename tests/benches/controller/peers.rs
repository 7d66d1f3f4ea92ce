//! Trivial items from end to end: submitted, run, exit code and output known.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use helix_tests::controller::Controller;
use serde_json::json;

use crate::Extent;
use crate::celery::Celery;
use crate::figures::{is_installed, spread};
use crate::slurm::Slurm;

pub(crate) async fn measure(extent: &Extent) {
    let slurm = Slurm::start();
    for slots in [1, 2] {
        let ours = Ours::start(slots).await;
        let celery = Celery::start(slots);
        let mut raw = Vec::new();
        let mut helix = Vec::new();
        let mut parallel = Vec::new();
        let mut celery_rates = Vec::new();
        let mut slurm_rates = Vec::new();
        for round in 0..extent.rounds {
            raw.push(rate(extent.items, || raw_loop(extent.items, slots)));
            let began = Instant::now();
            ours.run(round, extent.items).await;
            helix.push(per_second(extent.items, began));
            if is_installed("parallel") {
                parallel.push(rate(extent.items, || gnu_parallel(extent.items, slots)));
            }
            if let Some(celery) = &celery {
                celery_rates.push(celery.items_per_second(extent.items));
            }
            if let Some(slurm) = &slurm {
                let items = extent.slow_items;
                slurm_rates.push(rate(items, || slurm.run(items, slots)));
            }
        }
        println!(
            "{} items of `/bin/true`, {slots} at a time, items per second",
            extent.items
        );
        let ours = median(&mut helix);
        println!("  helix, durable, log kept      {}", spread(&mut helix));
        let lines = [
            ("a loop of spawn and wait     ", &mut raw),
            ("GNU parallel                 ", &mut parallel),
            ("Celery with Redis            ", &mut celery_rates),
            ("Slurm, srun in an allocation ", &mut slurm_rates),
        ];
        for (name, rates) in lines {
            if rates.is_empty() {
                println!("  {name} not installed");
            } else {
                let theirs = median(rates);
                println!(
                    "  {name} {}  helix is at {:.2} of it",
                    spread(rates),
                    ours / theirs
                );
            }
        }
    }
}

/// A controller with one agent, on the defaults of both.
struct Ours {
    controller: Controller,
    _agent: helix_tests::agent::Agent,
}

impl Ours {
    async fn start(slots: u32) -> Self {
        let controller = Controller::start().await;
        let agent = controller.agent("bench", slots).await;
        let ours = Self {
            controller,
            _agent: agent,
        };
        ours.run(1000, 10).await;
        ours
    }

    async fn run(&self, round: usize, items: usize) {
        let job = format!("round{round}-{items}");
        let items = (0..items)
            .map(|number| json!({ "name": number.to_string(), "command": { "argv": ["/bin/true"] } }))
            .collect();
        self.controller.submit(&job, items).await;
        let ended = self.controller.ended(&job).await;
        assert_eq!(ended["state"], "passed", "{ended}");
    }
}

fn raw_loop(items: usize, slots: u32) {
    let each = items / slots as usize;
    std::thread::scope(|scope| {
        for _ in 0..slots {
            scope.spawn(move || {
                for _ in 0..each {
                    let ran = Command::new("/bin/true").output();
                    assert!(ran.expect("it runs").status.success());
                }
            });
        }
    });
}

fn gnu_parallel(items: usize, slots: u32) {
    let mut child = Command::new("parallel")
        .args(["--will-cite", "-j", &slots.to_string(), "/bin/true"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("parallel starts");
    let mut input = child.stdin.take().expect("a pipe");
    for number in 0..items {
        writeln!(input, "{number}").expect("written");
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn rate(items: usize, run: impl FnOnce()) -> f64 {
    let began = Instant::now();
    run();
    per_second(items, began)
}

fn per_second(items: usize, began: Instant) -> f64 {
    f64::from(u32::try_from(items).expect("few")) / began.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    crate::figures::percentile(values, 50)
}
