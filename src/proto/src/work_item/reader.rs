//! Collecting what is wrong while a message is read.

use helix_model::admission::FieldProblem;

/// How many problems are kept: a request of legal size can hold a million, and nobody reads them.
pub(super) const MAX_PROBLEMS: usize = 100;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    problems: Vec<FieldProblem>,
}

impl Reader {
    /// Everything found wrong, in the order of the fields.
    pub(super) fn into_problems(self) -> Vec<FieldProblem> {
        self.problems
    }

    /// How many problems were found so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// Notes that the field at `path` is wrong.
    pub(super) fn say(&mut self, path: impl Into<String>, message: impl ToString) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(FieldProblem {
                path: path.into(),
                message: message.to_string(),
            });
        }
    }

    /// The value, or nothing after noting why there is none.
    pub(super) fn check<T, E: ToString>(&mut self, path: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.say(path, error)).ok()
    }

    /// A list of at most `most` entries; the rest is cut off after saying so.
    pub(super) fn bounded<T>(&mut self, path: &str, mut list: Vec<T>, most: usize) -> Vec<T> {
        if list.len() > most {
            let message = format!("it has {} entries, the limit is {most}", list.len());
            self.say(path, message);
            list.truncate(most);
        }
        list
    }

    /// Each entry of a list, after `read` has seen it with the path of its own.
    pub(super) fn each<T, U>(
        &mut self,
        path: &str,
        list: Vec<T>,
        most: usize,
        read: impl Fn(&mut Self, &str, T) -> Option<U>,
    ) -> Vec<U> {
        self.bounded(path, list, most)
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| read(self, &format!("{path}[{index}]"), entry))
            .collect()
    }
}
