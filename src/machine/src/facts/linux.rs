//! Facts as Linux tells them.

use std::fs;

use sysinfo::System;

use super::FactsError;

pub(super) const NAME: &str = "linux";

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The `ID` of `/etc/os-release`; `linux` where there is none.
pub(super) fn distribution() -> String {
    System::distribution_id().trim().to_ascii_lowercase()
}

pub(super) fn boot_id() -> Result<String, FactsError> {
    fs::read_to_string(BOOT_ID)
        .map(|text| text.trim().to_owned())
        .map_err(|source| FactsError::BootId {
            place: BOOT_ID,
            source,
        })
}
