//! Places in the list of attempts as opaque words.
//!
//! A token names a place and no row, so that a list goes on where it was even if
//! the row before has been forgotten meanwhile.

use std::time::{Duration, UNIX_EPOCH};

use helix_model::ids::AttemptId;
use helix_proto::agent::v1::AttemptSummary;

use crate::core::Place;

/// The place of a row.
pub(super) fn token(row: &AttemptSummary) -> String {
    let Some(attempt) = &row.attempt else {
        return String::new();
    };
    let accepted = attempt.accepted.unwrap_or_default();
    format!(
        "{}.{:09}-{}",
        accepted.seconds, accepted.nanos, attempt.attempt_id
    )
}

/// What a token names; nothing if it is none.
pub(super) fn place(token: &str) -> Option<Place> {
    let (time, id) = token.split_once('-')?;
    let (seconds, nanos) = time.split_once('.')?;
    let nanos: u32 = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let since = Duration::new(seconds.parse().ok()?, nanos);
    Some((UNIX_EPOCH.checked_add(since)?, AttemptId::new(id).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use helix_proto::agent::v1::RunningAttempt;

    #[test]
    fn token_names_its_place_again() {
        let accepted = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        let attempt = RunningAttempt {
            attempt_id: "a-b.c-1".to_owned(),
            accepted: Some(accepted.into()),
            ..RunningAttempt::default()
        };
        let row = AttemptSummary {
            attempt: Some(attempt),
            ..AttemptSummary::default()
        };
        let (time, id) = place(&token(&row)).expect("it is one");
        assert_eq!(time, accepted);
        assert_eq!(id.as_str(), "a-b.c-1");
    }

    #[test]
    fn words_that_are_no_tokens_name_nothing() {
        for word in [
            "",
            "-",
            "x",
            "1.2",
            "1-a",
            "1.1000000000-a",
            "-1.0-a",
            "1.0-.a",
            "99999999999999999999.0-a",
        ] {
            assert!(place(word).is_none(), "{word}");
        }
        assert!(place(&format!("{}.0-a", u64::MAX)).is_none());
    }
}
