//! The words by which formats name outcomes.

use std::borrow::Cow;

use crate::model::Outcome;
use crate::session::Session;

/// Words that come with nearly every case and are not worth a copy each.
const COMMON: [&str; 22] = [
    "Pass",
    "Fail",
    "Skip",
    "NotRun",
    "Passed",
    "Failed",
    "Skipped",
    "NotExecuted",
    "Inconclusive",
    "Success",
    "run",
    "notrun",
    "completed",
    "passed",
    "failed",
    "skipped",
    "pass",
    "fail",
    "skip",
    "ok",
    "ignored",
    "success",
];

/// An attribute value that is a word, without a copy where it is a common one.
pub(crate) fn literal(raw: &[u8], session: &mut Session<'_>) -> Cow<'static, str> {
    match COMMON.iter().find(|word| word.as_bytes() == raw) {
        Some(word) => Cow::Borrowed(word),
        None => Cow::Owned(session.name(raw)),
    }
}

/// What a word says where the format has no list of its own; whatever its case. `None` for one that is not known.
pub(crate) fn outcome(word: &str) -> Option<Outcome> {
    // Most cases of most writers come without a word.
    if word.is_empty() {
        return None;
    }
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if is(&[
        "pass",
        "passed",
        "success",
        "succeeded",
        "ok",
        "run",
        "completed",
    ]) {
        Some(Outcome::Passed)
    } else if is(&["fail", "failed", "failure"]) {
        Some(Outcome::Failed)
    } else if is(&["error", "errored", "broken", "aborted"]) {
        Some(Outcome::Errored)
    } else if is(&["timeout", "timedout", "timed-out"]) {
        Some(Outcome::TimedOut)
    } else if is(&["skip", "skipped", "ignored", "pending"]) {
        Some(Outcome::Skipped)
    } else if is(&["notrun", "notexecuted", "disabled", "suppressed"]) {
        Some(Outcome::NotRun)
    } else if is(&["inconclusive"]) {
        Some(Outcome::Inconclusive)
    } else {
        None
    }
}
