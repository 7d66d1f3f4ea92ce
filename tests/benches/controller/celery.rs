//! Celery with Redis: a worker that runs each item by `subprocess.run`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::figures::is_installed;

/// The tasks, and a driver that reads orders from standard input.
const PROGRAM: &str = r#"
import subprocess, sys, time
from celery import Celery, group
import os
URL = os.environ['BENCH_REDIS']
app = Celery('bench_tasks', broker=URL, backend=URL)
app.conf.worker_prefetch_multiplier = 4
app.conf.task_acks_late = True
@app.task
def run(*argv):
    done = subprocess.run(argv, capture_output=True)
    return done.returncode, done.stdout.decode()
if __name__ == '__main__':
    run.delay('/bin/true').get(timeout=60)
    print('ready', flush=True)
    for line in sys.stdin:
        order, *rest = line.split()
        if order == 'many':
            count = int(rest[0])
            began = time.monotonic()
            results = group(run.s('/bin/true') for _ in range(count)).apply_async().get()
            took = time.monotonic() - began
            assert all(code == 0 for code, _ in results)
            print(count / took, flush=True)
        else:
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            run.delay(*rest).get()
            print(began, flush=True)
"#;

/// A worker and its broker.
pub(crate) struct Celery {
    redis: Child,
    worker: Child,
    driver: Child,
    line: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _directory: TempDir,
}

impl Celery {
    /// Starts a worker with so many processes, or says why not.
    pub(crate) fn start(slots: u32) -> Option<Self> {
        let Some(python) = std::env::var_os("HELIX_BENCH_PYTHON") else {
            println!("Celery is left out: HELIX_BENCH_PYTHON is not set");
            return None;
        };
        if !is_installed("redis-server") {
            println!("Celery is left out: no redis-server");
            return None;
        }
        let directory = TempDir::with_prefix("helix-bench-celery-").expect("a directory");
        let program = directory.path().join("bench_tasks.py");
        std::fs::write(&program, PROGRAM).expect("written");
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port()
            .to_string();
        let redis = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", ""])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis starts");
        let python_command = || {
            let mut command = Command::new(&python);
            command
                .current_dir(directory.path())
                .env("BENCH_REDIS", format!("redis://127.0.0.1:{port}/0"));
            command
        };
        let worker = python_command()
            .args(["-m", "celery", "--app", "bench_tasks", "worker"])
            .args(["--concurrency", &slots.to_string(), "--loglevel", "ERROR"])
            .args([
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the worker starts");
        let mut driver = python_command()
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        let input = driver.stdin.take().expect("a pipe");
        let output = BufReader::new(driver.stdout.take().expect("a pipe"));
        let celery = Self {
            redis,
            worker,
            driver,
            line: Mutex::new((input, output)),
            _directory: directory,
        };
        // What it lacks, it has said itself by now.
        if celery.answer() != "ready" {
            println!("Celery is left out: it does not come up");
            return None;
        }
        Some(celery)
    }

    pub(crate) fn items_per_second(&self, items: usize) -> f64 {
        self.order(&format!("many {items}"));
        self.answer().parse().expect("a rate")
    }

    /// Runs one command; when it was submitted, in seconds of the monotonic clock.
    pub(crate) fn run(&self, command: &str) -> f64 {
        self.order(&format!("one {command}"));
        self.answer().parse().expect("a time")
    }

    fn order(&self, order: &str) {
        let mut line = self.line.lock().expect("one at a time");
        writeln!(line.0, "{order}").expect("the driver listens");
    }

    fn answer(&self) -> String {
        let mut line = self.line.lock().expect("one at a time");
        let mut text = String::new();
        line.1.read_line(&mut text).expect("the driver answers");
        text.trim().to_owned()
    }
}

impl Drop for Celery {
    fn drop(&mut self) {
        for child in [&mut self.driver, &mut self.worker, &mut self.redis] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
