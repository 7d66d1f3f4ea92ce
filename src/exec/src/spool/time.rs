//! Times of day in the spool.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970, good until the year 2554. Zero where a time was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The time of day now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for UnixNanos {
    /// Times before 1970 become zero.
    fn from(time: SystemTime) -> Self {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<UnixNanos> for SystemTime {
    fn from(time: UnixNanos) -> Self {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}
