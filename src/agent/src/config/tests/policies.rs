//! `[health]` and `[pressure]`.

use std::time::Duration;

use helix_model::pressure::StallShare;

use super::{check, good};

#[test]
fn quarantine_that_starts_above_its_default_maximum_raises_it() {
    let config = good("[health]\nquarantine = \"3h\"\n");
    assert_eq!(config.health.max_quarantine, Duration::from_secs(3 * 3600));
    check(
        "[health]\nquarantine = \"3h\"\nmax_quarantine = \"1h\"\ninfrastructure_failures = 0\n",
        &[
            "`health.max_quarantine` is less than `quarantine`",
            "`health.infrastructure_failures` must be from 1 to 1000, not 0",
        ],
    );
}

#[test]
fn pressure_thresholds_are_percent_and_leave_below_enter() {
    let config = good(
        "[pressure.high]\nenter = { cpu_some = 97.25, io_full = 5, memory_full = \"never\" }\n",
    );
    let policy = config.pressure.expect("it is on by default");
    assert_eq!(Ok(policy.high.enter.cpu_some), StallShare::parse("97.25"));
    assert_eq!(policy.high.leave.cpu_some, policy.high.enter.cpu_some);
    assert_eq!(policy.high.enter.memory_full, StallShare::NEVER);
    assert_eq!(policy.high.leave.io_full, StallShare::percent(5));
    assert_eq!(policy.high.enter.memory_some, StallShare::percent(25));
    assert!(good("[pressure]\nenabled = false\n").pressure.is_none());
    check(
        "[pressure.high]\nenter = { cpu_some = 101, io_full = -1, memory_full = 0 }\nleave = { memory_some = 30, cpu = 1 }\n",
        &[
            "`pressure.high.enter.cpu_some` must be above 0 and at most 100 percent, not 101",
            "`pressure.high.enter.io_full` must be above 0 and at most 100 percent, not -1",
            "`pressure.high.enter.memory_full` must be above 0 and at most 100 percent, not 0",
            "`pressure.high.leave.memory_some` is 30.00 %, which is above 25.00 %, where the level is entered",
            "unknown key `pressure.high.leave.cpu`",
        ],
    );
}
