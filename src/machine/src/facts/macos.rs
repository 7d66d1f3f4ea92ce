//! Facts as macOS tells them.

use std::io;

use sysctl::{Ctl, Sysctl, SysctlError};

use super::FactsError;

pub(super) const NAME: &str = "macos";

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "kern.bootsessionuuid";

pub(super) fn distribution() -> String {
    NAME.to_owned()
}

pub(super) fn boot_id() -> Result<String, FactsError> {
    let read = || -> Result<String, SysctlError> { Ctl::new(BOOT_ID)?.value_string() };
    read()
        .map(|text| text.trim().to_owned())
        .map_err(|error| FactsError::BootId {
            place: BOOT_ID,
            source: io::Error::other(error),
        })
}
