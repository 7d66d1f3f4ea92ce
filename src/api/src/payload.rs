//! Payloads that were uploaded.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A payload that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredPayload {
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// How a submission refers to it.
    pub reference: String,
}
