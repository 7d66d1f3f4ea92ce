//! Results of several attempts folded into one per test.
//!
//! A work item may run more than once, and one run may leave several files. Whoever calls knows which files belong
//! to which attempt, and says so: the files themselves cannot tell a rerun from two frameworks that happen to have
//! a test of the same name, so nothing is guessed from file names.
//!
//! Tests are the same if suite, class, method and display name without arguments are; rows of a data-driven test
//! share those and differ in their arguments. Arguments are only cut off where the method says what the name
//! without them is, since a display name may hold brackets of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Attempt, Origin, Outcome, TestCase};

/// One test over all attempts.
#[derive(Debug, Clone)]
pub struct FoldedTest {
    /// Its container, see [`TestCase::suite`].
    pub suite: Arc<str>,
    /// Its class.
    pub class: Arc<str>,
    /// Its name: the display name if it has one row, else the name its rows share.
    pub name: String,
    /// How it ended over all rows and attempts.
    pub outcome: Outcome,
    /// What it consists of.
    pub shape: Shape,
}

/// What a [`FoldedTest`] consists of.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One row with one execution, or with several that all ended alike, of which the first stands for all.
    Single(Box<TestCase>),
    /// One row that was executed several times, with differing outcomes or without ever passing.
    Rerun(Vec<Execution>),
    /// Several rows, each with its executions.
    DataDriven(Vec<Row>),
}

/// One row of a data-driven test.
#[derive(Debug, Clone)]
pub struct Row {
    /// Display name with arguments. Where rows of one attempt have the same, `#2` and so on tell them apart.
    pub name: String,
    /// How it ended over its executions.
    pub outcome: Outcome,
    /// Its executions in order.
    pub executions: Vec<Execution>,
}

/// One execution of a row.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The attempt of the work item it belongs to, as the caller counts.
    pub attempt: u32,
    /// What was recorded.
    pub case: TestCase,
}

impl FoldedTest {
    /// Whether it failed at least once and passed in the end, in any row.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        let passed = self.outcome == Outcome::Passed;
        passed
            && match &self.shape {
                Shape::Single(case) => case.is_flaky(),
                Shape::Rerun(executions) => is_mixed(executions),
                Shape::DataDriven(rows) => rows.iter().any(|row| is_mixed(&row.executions)),
            }
    }

    /// The sum of all its executions that tell their duration.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let all: Vec<Duration> = match &self.shape {
            Shape::Single(case) => case.duration.into_iter().collect(),
            Shape::Rerun(executions) => durations(executions).collect(),
            Shape::DataDriven(rows) => rows
                .iter()
                .flat_map(|row| durations(&row.executions))
                .collect(),
        };
        (!all.is_empty()).then(|| {
            all.into_iter()
                .fold(Duration::ZERO, Duration::saturating_add)
        })
    }
}

fn durations(executions: &[Execution]) -> impl Iterator<Item = Duration> {
    executions
        .iter()
        .filter_map(|execution| execution.case.duration)
}

/// Whether some execution failed and some passed, attempts inside one file counted.
fn is_mixed(executions: &[Execution]) -> bool {
    let failed = executions
        .iter()
        .any(|execution| execution.case.outcome.is_failure());
    let passed = executions
        .iter()
        .any(|execution| execution.case.outcome == Outcome::Passed);
    (failed && passed) || executions.iter().any(|execution| execution.case.is_flaky())
}

/// Gathers cases and folds them.
#[derive(Debug, Default)]
pub struct Fold {
    groups: Vec<Group>,
    index: HashMap<Key, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    suite: Arc<str>,
    class: Arc<str>,
    test: String,
}

#[derive(Debug)]
struct Group {
    key: Key,
    rows: Vec<Row>,
    index: HashMap<String, usize>,
    /// Rows of the current attempt with the same name, to tell them apart.
    seen: HashMap<String, (u32, u32)>,
}

impl Fold {
    /// An empty fold.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a case of an attempt. Cases of an earlier attempt must come before those of a later one.
    pub fn add(&mut self, attempt: u32, case: TestCase) {
        let key = Key {
            suite: case.suite.clone(),
            class: case.class.clone(),
            test: base_name(&case).to_owned(),
        };
        let group = match self.index.get(&key) {
            Some(index) => *index,
            None => {
                self.index.insert(key.clone(), self.groups.len());
                self.groups.push(Group {
                    key,
                    rows: Vec::new(),
                    index: HashMap::new(),
                    seen: HashMap::new(),
                });
                self.groups.len() - 1
            }
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.add(attempt, case);
        }
    }

    /// All tests, in the order in which they were first seen.
    #[must_use]
    pub fn finish(self) -> Vec<FoldedTest> {
        self.groups.into_iter().map(Group::finish).collect()
    }
}

impl Group {
    fn add(&mut self, attempt: u32, case: TestCase) {
        // Frameworks cut long arguments, so that different rows may bear one name.
        let seen = self.seen.entry(case.name.clone()).or_insert((attempt, 0));
        *seen = if seen.0 == attempt {
            (attempt, seen.1 + 1)
        } else {
            (attempt, 1)
        };
        let name = match seen.1 {
            1 => case.name.clone(),
            number => format!("{} #{number}", case.name),
        };
        let row = *self.index.entry(name.clone()).or_insert_with(|| {
            self.rows.push(Row {
                name,
                outcome: Outcome::Unknown,
                executions: Vec::new(),
            });
            self.rows.len() - 1
        });
        if let Some(row) = self.rows.get_mut(row) {
            row.executions.push(Execution { attempt, case });
        }
    }

    fn finish(self) -> FoldedTest {
        let Self { key, mut rows, .. } = self;
        for row in &mut rows {
            row.outcome = outcome_of_row(&row.executions);
        }
        let single = rows.len() == 1;
        let (name, outcome, shape) = match rows.pop() {
            Some(row) if single => (row.name, row.outcome, shape_of(row.executions)),
            last => {
                rows.extend(last);
                let outcome = outcome_of_rows(&rows);
                (key.test.clone(), outcome, Shape::DataDriven(rows))
            }
        };
        FoldedTest {
            suite: key.suite,
            class: key.class,
            name,
            outcome,
            shape,
        }
    }
}

/// The name without arguments, where the record tells what that is.
fn base_name(case: &TestCase) -> &str {
    if case.origin == Origin::Synthesised || case.method.is_empty() {
        return &case.name;
    }
    // The display name is the method, or the full name, with arguments in brackets behind it.
    let Some(at) = case.name.find(case.method.as_str()) else {
        return &case.name;
    };
    let end = at + case.method.len();
    let before = case.name[..at].trim_end_matches('.');
    let known = before.is_empty() || before == &*case.class;
    match case.name[end..].chars().next() {
        None => &case.name,
        Some('(' | '[' | '<') if known => &case.name[..end],
        Some(_) => &case.name,
    }
}

/// Executions that all ended alike are told once, save where the test never passed: each failure may say more.
fn shape_of(mut executions: Vec<Execution>) -> Shape {
    let first = executions.first().map(|execution| execution.case.outcome);
    let alike = executions
        .iter()
        .all(|execution| Some(execution.case.outcome) == first);
    let failed = first.is_some_and(Outcome::is_failure);
    if executions.len() == 1 || (alike && !failed && !executions.is_empty()) {
        return Shape::Single(Box::new(executions.swap_remove(0).case));
    }
    Shape::Rerun(executions)
}

/// Any pass makes the row pass; else any failure makes it fail; else it ended as it first did.
fn outcome_of_row(executions: &[Execution]) -> Outcome {
    let outcomes = || executions.iter().map(|execution| execution.case.outcome);
    if outcomes().any(|outcome| outcome == Outcome::Passed) {
        return Outcome::Passed;
    }
    outcomes()
        .find(|outcome| outcome.is_failure())
        .or_else(|| outcomes().next())
        .unwrap_or(Outcome::Unknown)
}

/// Any failed row makes the test fail; else any passed one makes it pass; else it ended as its first row did.
fn outcome_of_rows(rows: &[Row]) -> Outcome {
    let outcomes = || rows.iter().map(|row| row.outcome);
    if let Some(failure) = outcomes().find(|outcome| outcome.is_failure()) {
        return failure;
    }
    if outcomes().any(|outcome| outcome == Outcome::Passed) {
        return Outcome::Passed;
    }
    outcomes().next().unwrap_or(Outcome::Unknown)
}

/// The executions of a case that its own file tells of, in order of time, the case itself among them.
#[must_use]
pub fn executions_in_file(case: &TestCase) -> Vec<Attempt> {
    let own = Attempt {
        outcome: case.outcome,
        duration: case.duration,
        started: case.started,
        evidence: case.evidence.clone(),
    };
    let mut all = case.attempts.clone();
    // Of a test that passed in the end the record is the last execution, of others it is the first.
    match case.outcome {
        Outcome::Passed => all.push(own),
        _ => all.insert(0, own),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Position;

    fn case(class: &str, method: &str, name: &str, outcome: Outcome) -> TestCase {
        let mut case = TestCase::new("suite".into(), Position::default());
        case.class = class.into();
        case.method = method.to_owned();
        case.name = name.to_owned();
        case.outcome = outcome;
        case
    }

    /// Folds cases given as (attempt, name, outcome) of one method `N.C.M`, and shows what came of it.
    fn check(cases: &[(u32, &str, Outcome)], expected: &[&str]) {
        let mut fold = Fold::new();
        for (attempt, name, outcome) in cases {
            fold.add(*attempt, case("N.C", "M", name, *outcome));
        }
        let shown: Vec<String> = fold
            .finish()
            .iter()
            .map(|test| {
                let flaky = if test.is_flaky() { " flaky" } else { "" };
                let shape = match &test.shape {
                    Shape::Single(_) => "single".to_owned(),
                    Shape::Rerun(executions) => format!("rerun {}", executions.len()),
                    Shape::DataDriven(rows) => rows
                        .iter()
                        .map(|row| format!("{}={}/{}", row.name, row.outcome, row.executions.len()))
                        .collect::<Vec<_>>()
                        .join(" "),
                };
                format!("{} {}{flaky}: {shape}", test.name, test.outcome)
            })
            .collect();
        assert_eq!(shown, expected);
    }

    use Outcome::{Failed, Passed, Skipped};

    #[test]
    fn one_execution_stays_what_it_is() {
        check(&[(1, "N.C.M", Failed)], &["N.C.M failed: single"]);
    }

    #[test]
    fn reruns_pass_if_one_passed_and_keep_all_that_failed() {
        check(
            &[(1, "M", Failed), (2, "M", Passed)],
            &["M passed flaky: rerun 2"],
        );
        check(
            &[(1, "M", Failed), (2, "M", Failed)],
            &["M failed: rerun 2"],
        );
        check(&[(1, "M", Passed), (2, "M", Passed)], &["M passed: single"]);
        check(
            &[(1, "M", Skipped), (2, "M", Failed)],
            &["M failed: rerun 2"],
        );
    }

    #[test]
    fn rows_share_a_test_and_a_mix_of_passed_and_skipped_is_no_failure() {
        check(
            &[(1, "N.C.M(a: 1)", Passed), (1, "N.C.M(a: 2)", Skipped)],
            &["N.C.M passed: N.C.M(a: 1)=passed/1 N.C.M(a: 2)=skipped/1"],
        );
        check(
            &[
                (1, "M(1)", Failed),
                (1, "M(2)", Passed),
                (2, "M(1)", Passed),
            ],
            &["M passed flaky: M(1)=passed/2 M(2)=passed/1"],
        );
    }

    #[test]
    fn rows_whose_arguments_were_cut_stay_apart() {
        check(
            &[
                (1, "M(...)", Passed),
                (1, "M(...)", Failed),
                (2, "M(...)", Passed),
                (2, "M(...)", Failed),
            ],
            &["M failed: M(...)=passed/2 M(...) #2=failed/2"],
        );
    }

    #[test]
    fn display_names_with_brackets_of_their_own_are_not_cut() {
        for (method, name) in [
            ("M", "adds (and carries)"),
            ("", "operator()(1)"),
            ("M", "Other.M(1)"),
        ] {
            let case = case("N.C", method, name, Passed);
            assert_eq!(base_name(&case), name);
        }
        assert_eq!(
            base_name(&case("N.C", "M", "N.C.M<int>(x)", Passed)),
            "N.C.M"
        );
    }

    #[test]
    fn executions_inside_a_file_come_in_order_of_time() {
        let mut flaky = case("", "", "t", Passed);
        flaky.attempts = executions_in_file(&case("", "", "t", Failed));
        let outcomes = |case| {
            executions_in_file(case)
                .iter()
                .map(|attempt| attempt.outcome)
                .collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&flaky), [Failed, Passed]);
        let mut lost = case("", "", "t", Failed);
        lost.attempts = executions_in_file(&case("", "", "t", Outcome::TimedOut));
        assert_eq!(outcomes(&lost), [Failed, Outcome::TimedOut]);
    }
}
