//! Spans of time from the wire. Those that go out convert by themselves and cannot fail.

use std::time::Duration;

/// A span of time that is none the agent can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is less than zero.
    #[error("it must not be negative")]
    Negative,
    /// The contract of `google.protobuf.Duration` is broken.
    #[error("its nanos are {nanos}, they must be 0 to 999999999")]
    Nanos {
        /// What was given.
        nanos: i32,
    },
}

/// Takes a span of time from the wire, of any length, for the caller to check.
///
/// Unlike the conversion of `prost-types` it takes every pair of numbers, and panics at none.
///
/// # Errors
///
/// It is negative, or not well formed.
pub fn duration(message: prost_types::Duration) -> Result<Duration, DurationError> {
    let prost_types::Duration { seconds, nanos } = message;
    let seconds = u64::try_from(seconds).map_err(|_| DurationError::Negative)?;
    match u32::try_from(nanos) {
        Ok(nanos) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        Ok(_) => Err(DurationError::Nanos { nanos }),
        Err(_) if seconds == 0 => Err(DurationError::Negative),
        Err(_) => Err(DurationError::Nanos { nanos }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn span_is_taken_or_refused_by_what_is_wrong() {
        let check = |seconds, nanos, expected| {
            assert_eq!(duration(prost_types::Duration { seconds, nanos }), expected);
        };
        check(0, 0, Ok(Duration::ZERO));
        check(1, 999_999_999, Ok(Duration::new(1, 999_999_999)));
        check(
            i64::MAX,
            0,
            Ok(Duration::from_secs(i64::MAX.unsigned_abs())),
        );
        check(-1, 0, Err(DurationError::Negative));
        check(0, -1, Err(DurationError::Negative));
        check(i64::MIN, i32::MIN, Err(DurationError::Negative));
        let nanos = |nanos| Err(DurationError::Nanos { nanos });
        check(1, -1, nanos(-1));
        check(0, 1_000_000_000, nanos(1_000_000_000));
        check(i64::MAX, i32::MAX, nanos(i32::MAX));
    }

    proptest! {
        #[test]
        fn any_pair_is_taken_or_refused(seconds: i64, nanos: i32) {
            if let Ok(span) = duration(prost_types::Duration { seconds, nanos }) {
                prop_assert_eq!(i64::try_from(span.as_secs()), Ok(seconds));
                prop_assert_eq!(i32::try_from(span.subsec_nanos()), Ok(nanos));
            }
        }

        #[test]
        fn span_that_goes_out_comes_back(seconds in 0..i64::MAX.unsigned_abs(), nanos in 0..1_000_000_000_u32) {
            let span = Duration::new(seconds, nanos);
            let message = prost_types::Duration::try_from(span).expect("it has room");
            prop_assert_eq!(duration(message), Ok(span));
        }
    }
}
