//! The kernel's verdict on memory, `kern.memorystatus_vm_pressure_level`.

use std::io;

use sysctl::{Ctl, Sysctl, SysctlError};

use super::{MemoryVerdict, PressureError};

const NAME: &str = "kern.memorystatus_vm_pressure_level";

pub(super) fn read() -> Result<MemoryVerdict, PressureError> {
    let read = || -> Result<String, SysctlError> { Ctl::new(NAME)?.value_string() };
    let text = read().map_err(|error| PressureError::Variable {
        name: NAME,
        source: io::Error::other(error),
    })?;
    // The levels of libdispatch's memory pressure source.
    match text.trim() {
        "1" => Ok(MemoryVerdict::Normal),
        "2" => Ok(MemoryVerdict::Warning),
        "4" => Ok(MemoryVerdict::Critical),
        other => Err(PressureError::Unreadable {
            place: NAME.to_owned(),
            text: other.to_owned(),
        }),
    }
}
