//! Tools that not every machine has. A test that misses one says so and passes;
//! where the tests must be complete, the environment names every tool.

use std::ffi::OsString;

/// The value of an environment variable that names a tool or a folder.
///
/// Prints why the calling test is skipped when the variable is not set.
#[must_use]
pub fn tool(variable: &str) -> Option<OsString> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    if value.is_none() {
        skipped(&format!("the environment variable {variable} is not set"));
    }
    value
}

/// Says that the calling test is skipped, and why.
#[expect(clippy::print_stderr, reason = "a skipped test must not be silent")]
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {name}: {why}");
}
