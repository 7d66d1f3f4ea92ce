//! How times, spans and kinds are written down.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use helix_model::work_item::{Delivery, DeliveryCounts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::session::Row;
use crate::{
    AgentOrigin, Counts, FileKind, ItemEndKind, RetryPlace, TestFailure, VerdictKind, Visibility,
};

/// Microseconds since 1970; what is beyond the reach of a number becomes the nearest that is not.
pub(super) fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            // Rounded to the earlier microsecond, as times after 1970 are.
            let up = u128::from(before.subsec_nanos() % 1000 != 0);
            i64::try_from(before.as_micros() + up).map_or(i64::MIN, |micros| -micros)
        }
    }
}

/// The same, where there may be none.
pub(super) fn maybe_micros(time: Option<SystemTime>) -> Option<i64> {
    time.map(micros)
}

/// A span in microseconds.
pub(super) fn span(duration: Option<Duration>) -> Option<i64> {
    duration.map(|duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// A number without sign; what is too large becomes the largest that is not.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn time_of(micros: i64) -> SystemTime {
    let span = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 {
        UNIX_EPOCH.checked_sub(span)
    } else {
        UNIX_EPOCH.checked_add(span)
    };
    time.unwrap_or(UNIX_EPOCH)
}

impl Row {
    /// A time that is there.
    pub(super) fn time(&self, column: &str) -> Result<SystemTime, Failure> {
        Ok(time_of(self.int(column)?))
    }

    /// A time that may be absent.
    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<SystemTime>, Failure> {
        Ok(self.maybe_int(column)?.map(time_of))
    }

    /// A span that may be absent.
    pub(super) fn maybe_span(&self, column: &str) -> Result<Option<Duration>, Failure> {
        let micros = self.maybe_int(column)?;
        Ok(micros.map(|micros| Duration::from_micros(micros.unsigned_abs())))
    }

    /// A word that stands for something.
    pub(super) fn word<T: Word>(&self, column: &str) -> Result<T, Failure> {
        let text = self.text(column)?;
        T::from_word(&text).ok_or_else(|| self.wrong(column, format!("the word `{text}`")))
    }

    /// What was written as JSON; the default where nothing was.
    pub(super) fn json<T: DeserializeOwned + Default>(&self, column: &str) -> Result<T, Failure> {
        match self.maybe_text(column)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| self.wrong(column, error)),
            None => Ok(T::default()),
        }
    }

    /// The counters of a delivery.
    pub(super) fn delivery(&self) -> Result<Delivery, Failure> {
        let counts = DeliveryCounts {
            number: self.small("delivery")?,
            queue_max: self.small("queue_max")?,
            retries_requested: self.small("retries_requested")?,
            retries_used: self.small("retries_used")?,
        };
        Delivery::try_from(counts).map_err(|error| self.wrong("delivery", error))
    }
}

/// Writes a value as JSON. Nothing that is written here can fail to be.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The same for a list, absent where it is empty.
pub(super) fn list_to_json<T: Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| to_json(&list))
}

/// Something that is stored as one word.
pub(super) trait Word: Sized {
    fn word(&self) -> &'static str;
    fn from_word(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($($kind:ident { $($variant:ident = $word:literal),* $(,)? })*) => {$(
        impl Word for $kind {
            fn word(&self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

words! {
    Visibility { Open = "open", Internal = "internal" }
    RetryPlace { Anywhere = "anywhere", AnotherMachine = "another_machine" }
    AgentOrigin { Configured = "configured", Announced = "announced", Tunnelled = "tunnelled" }
    FileKind {
        ConsoleLog = "console_log", TestResult = "test_result", Upload = "upload", Dump = "dump"
    }
    VerdictKind {
        Passed = "passed", Failed = "failed", TimedOut = "timed_out", Cancelled = "cancelled",
        Infrastructure = "infrastructure"
    }
    ItemEndKind {
        Passed = "passed", PassedOnRetry = "passed_on_retry", Failed = "failed",
        TimedOut = "timed_out", Cancelled = "cancelled", Dead = "dead"
    }
}

/// Counts of tests as they are stored.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoredCounts {
    total: u64,
    passed: u64,
    failed: u64,
    skipped: u64,
    flaky: u64,
    inconclusive: u64,
}

impl From<Counts> for StoredCounts {
    fn from(counts: Counts) -> Self {
        let Counts {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        } = counts;
        Self {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        }
    }
}

impl From<StoredCounts> for Counts {
    fn from(stored: StoredCounts) -> Self {
        let StoredCounts {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        } = stored;
        Self {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        }
    }
}

/// A failed test as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoredFailure {
    pub(super) name: String,
    message: String,
    stack: String,
    file: String,
}

impl From<TestFailure> for StoredFailure {
    fn from(failure: TestFailure) -> Self {
        let TestFailure {
            name,
            message,
            stack,
            file,
        } = failure;
        Self {
            name,
            message,
            stack,
            file,
        }
    }
}

impl From<StoredFailure> for TestFailure {
    fn from(stored: StoredFailure) -> Self {
        let StoredFailure {
            name,
            message,
            stack,
            file,
        } = stored;
        Self {
            name,
            message,
            stack,
            file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_come_back() {
        for micros_then in [0, 1, -1, 1_700_000_000_123_456, -1_700_000_000_123_456] {
            assert_eq!(micros(time_of(micros_then)), micros_then);
        }
        let nearly = UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(micros(nearly), -1);
        assert_eq!(micros(UNIX_EPOCH + Duration::from_nanos(1999)), 1);
    }
}
