//! Where results go while a file is being read.

use std::ops::ControlFlow;

use crate::model::{TestCase, TestRun};
use crate::problem::Problem;

/// Receives what a file holds, in file order, while it is read. Nothing is kept by the reader: what the sink
/// throws away is gone, and memory does not grow with the file.
///
/// Per document the order is: one `run_started`, any number of `case` and `problem`, one `run_finished`. Problems
/// may also come before the first and after the last document.
pub trait Sink {
    /// A document begins. Only `file` and `format` are sure to be known yet.
    fn run_started(&mut self, run: &TestRun) {
        let _ = run;
    }

    /// A test case is complete. `ControlFlow::Break` ends the reading.
    ///
    /// The case is the sink's to take, with [`std::mem::take`]; the memory of what it leaves behind is used for
    /// the cases that follow.
    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()>;

    /// Something is wrong with the file.
    fn problem(&mut self, problem: Problem) {
        let _ = problem;
    }

    /// A document has ended; the run now holds all that the file says about it.
    fn run_finished(&mut self, run: &TestRun) {
        let _ = run;
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn run_started(&mut self, run: &TestRun) {
        (**self).run_started(run);
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        (**self).case(case)
    }

    fn problem(&mut self, problem: Problem) {
        (**self).problem(problem);
    }

    fn run_finished(&mut self, run: &TestRun) {
        (**self).run_finished(run);
    }
}

/// Keeps everything in memory, for small files, tests and tools. Bound it with [`crate::Limits::cases`].
#[derive(Debug, Default, Clone)]
pub struct Collector {
    /// The documents, each with its cases.
    pub runs: Vec<CollectedRun>,
    /// All problems, in order.
    pub problems: Vec<Problem>,
}

/// One document of a file with all its cases.
#[derive(Debug, Clone)]
pub struct CollectedRun {
    /// The document.
    pub run: TestRun,
    /// Its cases in file order.
    pub cases: Vec<TestCase>,
}

impl Collector {
    /// An empty collector.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All cases of all documents, in order.
    pub fn cases(&self) -> impl Iterator<Item = &TestCase> {
        self.runs.iter().flat_map(|run| run.cases.iter())
    }
}

impl Sink for Collector {
    fn run_started(&mut self, run: &TestRun) {
        self.runs.push(CollectedRun {
            run: run.clone(),
            cases: Vec::new(),
        });
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        if let Some(run) = self.runs.last_mut() {
            run.cases.push(std::mem::take(case));
        }
        ControlFlow::Continue(())
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn run_finished(&mut self, run: &TestRun) {
        if let Some(collected) = self.runs.last_mut() {
            collected.run = run.clone();
        }
    }
}
