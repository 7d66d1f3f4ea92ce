//! An error as a person reads it.

use super::{Palette, text};
use crate::error::Error;

/// What failed, why, and what to do: a line each, without a last line end.
pub(crate) fn failure(error: &Error, palette: Palette) -> String {
    let what = error.to_string();
    let mut lines = format!("{} {}", palette.red("helix:"), text::clean(&what));
    for cause in error.causes() {
        let cause = text::clean(&cause).replace('\n', "\n    ");
        lines.push_str(&format!("\n  {} {cause}", palette.bold("cause:")));
    }
    if let Some(hint) = error.hint() {
        lines.push_str(&format!(
            "\n  {} {}",
            palette.cyan("hint:"),
            text::clean(&hint)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tonic::Code;

    use super::*;
    use crate::client::answer::{Answer, Refusal};

    #[test]
    fn a_refusal_says_why_and_when_to_come_back() {
        let refusal = Refusal {
            code: Code::ResourceExhausted,
            reason: "SLOTS_FULL".to_owned(),
            message: "All 2 slots are taken.".to_owned(),
            metadata: BTreeMap::new(),
            retry_after: Some(Duration::from_secs(12)),
            details: Vec::new(),
        };
        let error = Error::Refused {
            name: "tests".to_owned(),
            refusal: Box::new(refusal),
        };
        insta::assert_snapshot!(failure(&error, Palette::Plain), @r"
        helix: the agent refused `tests`
          cause: SLOTS_FULL: All 2 slots are taken.
          hint: come back in 12 s, or let `helix run --wait 10m` do it
        ");
        assert_eq!(error.exit().code(), 75);
    }

    #[test]
    fn an_answer_from_elsewhere_gives_the_terminal_no_orders() {
        let answer = Answer::Rejected {
            code: Code::Unimplemented,
            message: "\x1b[2Jno\nway".to_owned(),
        };
        let error = Error::Call {
            what: "list the attempts".to_owned(),
            answer,
        };
        insta::assert_snapshot!(failure(&error, Palette::Plain), @r"
        helix: cannot list the attempts
          cause: \u{1b}[2Jno
            way (Unimplemented)
          hint: is this the address of a Helix agent of our version?
        ");
    }
}
