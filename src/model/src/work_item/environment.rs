//! The variables that a work item asks for.

use std::collections::BTreeSet;
use std::fmt;

/// An ordered list of variables with distinct names.
///
/// Printing it shows the names only, for values often are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

/// A variable that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {index} {problem}")]
pub struct EnvironmentError {
    /// Which entry of the list, counted from 0.
    pub index: usize,
    /// What is wrong with it.
    pub problem: EnvironmentProblem,
}

/// What is wrong with a variable. Says nothing of its value, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentProblem {
    /// It has no name.
    #[error("has an empty name")]
    EmptyName,
    /// The name has a character that no variable can have.
    #[error("has the character {character:?} in its name")]
    BadName {
        /// `=`, NUL or another control character.
        character: char,
    },
    /// The value has a NUL.
    #[error("`{name}` has a NUL character in its value")]
    NulInValue {
        /// The variable.
        name: String,
    },
    /// The name was there before.
    #[error("`{name}` is given twice")]
    Duplicate {
        /// The variable.
        name: String,
    },
}

impl Environment {
    /// Checks the variables and keeps their order.
    ///
    /// # Errors
    ///
    /// The first variable that cannot be set, or that was there before.
    pub fn new(variables: Vec<(String, String)>) -> Result<Self, EnvironmentError> {
        let mut seen = BTreeSet::new();
        for (index, (name, value)) in variables.iter().enumerate() {
            let problem = if name.is_empty() {
                Some(EnvironmentProblem::EmptyName)
            } else if let Some(character) = name.chars().find(|c| *c == '=' || c.is_control()) {
                Some(EnvironmentProblem::BadName { character })
            } else if value.contains('\0') {
                Some(EnvironmentProblem::NulInValue { name: name.clone() })
            } else if seen.insert(name.as_str()) {
                None
            } else {
                Some(EnvironmentProblem::Duplicate { name: name.clone() })
            };
            if let Some(problem) = problem {
                return Err(EnvironmentError { index, problem });
            }
        }
        Ok(Self(variables))
    }

    /// The variables in the order given, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a variable; names are told apart by case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, value)| value)
    }

    /// How many variables there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<usize, &str>) {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let found = Environment::new(variables.collect());
        let found = found
            .map(|environment| environment.len())
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn variables_that_cannot_be_set_are_refused_by_index() {
        check(&[], Ok(0));
        check(&[("A", "1"), ("a", "=\n"), ("B C", "")], Ok(3));
        check(
            &[("A", "1"), ("", "2")],
            Err("environment variable 1 has an empty name"),
        );
        check(
            &[("A=B", "")],
            Err("environment variable 0 has the character '=' in its name"),
        );
        check(
            &[("A\0", "")],
            Err("environment variable 0 has the character '\\0' in its name"),
        );
        let nul = "environment variable 0 `A` has a NUL character in its value";
        check(&[("A", "x\0y")], Err(nul));
        let twice = "environment variable 2 `A` is given twice";
        check(&[("A", "1"), ("B", "2"), ("A", "1")], Err(twice));
    }

    #[test]
    fn printing_shows_names_in_order_and_no_values() {
        let variables = vec![
            ("Z".to_owned(), "hunter2".to_owned()),
            ("A".to_owned(), String::new()),
        ];
        let environment = Environment::new(variables).expect("good variables");
        assert_eq!(format!("{environment:?}"), r#"{"Z", "A"}"#);
        assert_eq!(environment.get("Z"), Some("hunter2"));
        assert_eq!(environment.get("z"), None);
        assert!(!environment.is_empty());
    }
}
