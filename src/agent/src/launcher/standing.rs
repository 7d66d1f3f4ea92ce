//! How far the launcher holds commands back, as it says itself, in the words of
//! the model and of people.

use std::sync::Arc;

use helix_exec::launcher::{Isolation, Measure};
use helix_model::admission::MissingMeasure;

/// What is known of the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: it has not answered yet, or is gone.
    Unknown {
        /// Why, as in "connection refused".
        why: String,
    },
    /// What it said on its present connection.
    Known(Arc<Isolation>),
}

impl Standing {
    /// Before the first answer.
    pub(crate) fn not_heard_of() -> Self {
        Self::Unknown {
            why: "it has not answered yet".to_owned(),
        }
    }

    /// Commands that can run at a time, where that is limited by the users they
    /// run as.
    pub(crate) fn slots(&self) -> Option<u32> {
        match self {
            Self::Unknown { .. } => None,
            Self::Known(isolation) => isolation.slots,
        }
    }

    /// Whether a measure is in force.
    pub(crate) fn has(&self, measure: Measure) -> bool {
        match self {
            Self::Unknown { .. } => false,
            Self::Known(isolation) => isolation.has(measure),
        }
    }

    /// What is in force, in words.
    pub(crate) fn in_force(&self) -> Vec<String> {
        Measure::ALL
            .iter()
            .filter(|measure| self.has(**measure))
            .map(ToString::to_string)
            .collect()
    }

    /// What is not in force, in words that say why.
    pub(crate) fn degraded(&self) -> Vec<String> {
        match self {
            Self::Unknown { why } => {
                vec![format!(
                    "nothing is known of the isolation, the launcher cannot be reached: {why}"
                )]
            }
            Self::Known(_) => Measure::ALL
                .iter()
                .filter_map(|measure| {
                    Some(format!(
                        "not in force: {measure} ({})",
                        self.lacks(*measure)?
                    ))
                })
                .collect(),
        }
    }

    /// Those of some measures that are not in force.
    pub(crate) fn missing(&self, required: &[Measure]) -> Vec<MissingMeasure> {
        required
            .iter()
            .filter_map(|measure| {
                Some(MissingMeasure {
                    name: measure.name().to_owned(),
                    why: self.lacks(*measure)?,
                })
            })
            .collect()
    }

    /// Why a measure is not in force; none if it is.
    pub(crate) fn lacks(&self, measure: Measure) -> Option<String> {
        match self {
            // Why it cannot, `degraded` says once for all of them.
            Self::Unknown { .. } => Some("the launcher cannot be reached".to_owned()),
            Self::Known(isolation) if isolation.has(measure) => None,
            Self::Known(isolation) => {
                let missing = isolation.missing.iter();
                let why = missing
                    .filter(|missing| missing.measure == measure)
                    .map(|missing| missing.why.clone())
                    .next();
                Some(why.unwrap_or_else(|| "the launcher does not know of it".to_owned()))
            }
        }
    }
}

/// Measures that are missing, on one line.
pub(crate) fn in_words(missing: &[MissingMeasure]) -> String {
    let words: Vec<String> = missing
        .iter()
        .map(|missing| format!("{} ({})", missing.name, missing.why))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use helix_exec::launcher::Missing;

    use super::*;

    fn known() -> Standing {
        Standing::Known(Arc::new(Isolation {
            slots: Some(3),
            in_force: vec![Measure::User, Measure::Session],
            missing: vec![Missing {
                measure: Measure::Memory,
                why: "no control groups are configured".to_owned(),
            }],
        }))
    }

    #[test]
    fn what_is_in_force_and_what_is_not_make_up_all_there_is() {
        let standing = known();
        assert_eq!(
            standing.in_force(),
            [
                "a session and an environment of its own",
                "a user of its own, without privileges"
            ]
        );
        let degraded = standing.degraded();
        assert_eq!(degraded.len() + 2, Measure::ALL.len());
        assert!(
            degraded.contains(
                &"not in force: a limit on memory (no control groups are configured)".to_owned()
            ),
            "{degraded:?}"
        );
    }

    #[test]
    fn required_measures_are_missing_with_the_reason() {
        let required = [Measure::Memory, Measure::User, Measure::Cpu];
        let words = in_words(&known().missing(&required));
        assert_eq!(
            words,
            "memory (no control groups are configured), cpu (the launcher does not know of it)"
        );
        assert!(known().missing(&[Measure::Session]).is_empty());
    }

    #[test]
    fn nothing_is_in_force_while_nobody_answers() {
        let standing = Standing::not_heard_of();
        assert!(standing.in_force().is_empty());
        assert_eq!(standing.degraded().len(), 1);
        assert_eq!(standing.missing(&Measure::ALL).len(), Measure::ALL.len());
        assert_eq!((standing.slots(), known().slots()), (None, Some(3)));
    }
}
