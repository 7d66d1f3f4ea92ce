//! The agent's own lines around a command's output, in the form that tools for
//! Helix logs look for. None of them ends in a newline.

use std::time::Duration;

use helix_model::ids::{FriendlyName, JobId, WorkItemId};
use helix_model::work_item::{Delivery, Limits};

/// What the first line says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    /// The work item's friendly name.
    pub(crate) name: &'a FriendlyName,
    pub(crate) job: &'a JobId,
    pub(crate) work_item: &'a WorkItemId,
    pub(crate) queue: &'a str,
    /// This machine's name.
    pub(crate) machine: &'a str,
    /// Operating system and version, as a person would say it.
    pub(crate) operating_system: &'a str,
}

impl Header<'_> {
    /// The first line of a log.
    pub(crate) fn line(&self) -> String {
        format!(
            "Console log: '{}' from job {} workitem {} ({}) executed on machine {} running {}",
            self.name, self.job, self.work_item, self.queue, self.machine, self.operating_system
        )
    }
}

/// The line after the header: what the command may take, and what follows should
/// it fail. Most people learn of the default time limit by running into it.
pub(crate) fn terms(limits: &Limits, delivery: &Delivery) -> String {
    let mut line = format!("Time limit {}", seconds(limits.wall_timeout()));
    if let Some(silence) = limits.silence_timeout() {
        line.push_str(&format!(", {} without output", seconds(silence)));
    }
    line.push_str(&format!(
        ". Delivery {} of at most {}; {}.",
        delivery.number(),
        delivery.queue_max(),
        retries(delivery),
    ));
    line
}

/// The last line of a log. `exit_code` is the one that Helix clients know.
pub(crate) fn last_line(name: &FriendlyName, exit_code: i32) -> String {
    format!("['{name}' END OF WORK ITEM LOG: Command exited with {exit_code}]")
}

fn retries(delivery: &Delivery) -> String {
    let (asked, left) = (delivery.retries_requested(), delivery.retries_left());
    let allowed = delivery.retries_allowed();
    let cut = if allowed < asked {
        format!(" ({asked} asked for, {allowed} granted by the queue)")
    } else {
        String::new()
    };
    match left {
        0 => format!("no retry left{cut}"),
        1 => format!("1 retry left{cut}"),
        left => format!("{left} retries left{cut}"),
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use helix_model::work_item::{DeliveryCounts, WantedLimits};

    use super::*;

    fn name() -> FriendlyName {
        FriendlyName::new("System.Runtime.Tests (net9.0)").expect("a name")
    }

    fn check(limits: WantedLimits, delivery: DeliveryCounts, expected: &str) {
        let limits = limits.resolve().expect("limits");
        let delivery = Delivery::try_from(delivery).expect("a delivery");
        assert_eq!(terms(&limits, &delivery), expected);
    }

    #[test]
    fn the_first_line_has_the_form_that_log_tools_know() {
        let header = Header {
            name: &name(),
            job: &JobId::new("1f0d4f44-3a2b-4b8c-9a51-0e3f2c7d1b60").expect("an id"),
            work_item: &WorkItemId::new("6f9619ff-8b86-d011-b42d-00c04fc964ff").expect("an id"),
            queue: "ubuntu.2204.amd64.open",
            machine: "a0001X9",
            operating_system: "Ubuntu 22.04.4 LTS",
        };
        assert_eq!(
            header.line(),
            "Console log: 'System.Runtime.Tests (net9.0)' from job \
             1f0d4f44-3a2b-4b8c-9a51-0e3f2c7d1b60 workitem 6f9619ff-8b86-d011-b42d-00c04fc964ff \
             (ubuntu.2204.amd64.open) executed on machine a0001X9 running Ubuntu 22.04.4 LTS"
        );
    }

    #[test]
    fn the_last_line_has_the_form_that_log_tools_know() {
        assert_eq!(
            last_line(&name(), -3),
            "['System.Runtime.Tests (net9.0)' END OF WORK ITEM LOG: Command exited with -3]"
        );
    }

    #[test]
    fn the_terms_say_what_is_granted_and_what_was_cut() {
        let counts = |number, queue_max, retries_requested, retries_used| DeliveryCounts {
            number,
            queue_max,
            retries_requested,
            retries_used,
        };
        check(
            WantedLimits::default(),
            counts(1, 1, 0, 0),
            "Time limit 300 s. Delivery 1 of at most 1; no retry left.",
        );
        check(
            WantedLimits {
                wall_timeout: Some(Duration::from_millis(1500)),
                silence_timeout: Some(Duration::from_secs(60)),
                ..WantedLimits::default()
            },
            counts(2, 3, 5, 1),
            "Time limit 1.500 s, 60 s without output. Delivery 2 of at most 3; 1 retry left (5 \
             asked for, 2 granted by the queue).",
        );
        check(
            WantedLimits::default(),
            counts(1, 10, 3, 0),
            "Time limit 300 s. Delivery 1 of at most 10; 3 retries left.",
        );
    }
}
