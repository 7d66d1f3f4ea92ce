//! Events as lines.

use helix_proto::agent::v1::{Accepted, AttemptEvent, EndingKind, Exited, attempt_event::Kind};

use super::{Palette, text, units, verdict};

/// What an event says while it happens; nothing for the console, and nothing
/// for what the summary at the end says better.
pub(crate) fn line(event: &AttemptEvent, attempt_id: &str, palette: Palette) -> Option<String> {
    match event.kind.as_ref()? {
        Kind::Accepted(accepted) => Some(accepted_line(accepted, attempt_id)),
        Kind::Preparing(preparing) => Some(text::line(&preparing.step, 200)),
        Kind::Started(started) => {
            let limit = match units::wire_duration(started.wall_timeout) {
                Some(limit) => format!(", limit {}", units::duration(limit)),
                None => String::new(),
            };
            Some(format!("started as process {}{limit}", started.pid))
        }
        Kind::Exited(exited) => Some(exited_line(exited)),
        Kind::Warning(warning) => Some(format!(
            "{} {}",
            palette.yellow("warning:"),
            text::line(&warning.message, 500)
        )),
        Kind::ConsoleGap(gap) => Some(format!(
            "{} {} of output are not kept",
            palette.yellow("warning:"),
            units::bytes(gap.dropped_bytes)
        )),
        Kind::Console(_)
        | Kind::ResultsRead(_)
        | Kind::ArtifactStored(_)
        | Kind::Finished(_)
        | Kind::Requeued(_)
        | Kind::Returned(_) => None,
    }
}

/// What the attempt is doing after this event, for a status line that moves.
pub(crate) fn activity(event: &AttemptEvent) -> Option<String> {
    match event.kind.as_ref()? {
        Kind::Accepted(_) => Some("preparing".to_owned()),
        Kind::Preparing(preparing) => Some(text::line(&preparing.step, 60)),
        Kind::Started(_) => Some("running".to_owned()),
        Kind::Exited(_) => Some("reading results".to_owned()),
        Kind::ResultsRead(_) | Kind::ArtifactStored(_) => Some("storing files".to_owned()),
        Kind::Console(_)
        | Kind::ConsoleGap(_)
        | Kind::Warning(_)
        | Kind::Finished(_)
        | Kind::Requeued(_)
        | Kind::Returned(_) => None,
    }
}

fn accepted_line(accepted: &Accepted, attempt_id: &str) -> String {
    let machine = text::line(&accepted.machine, 80);
    let retries = match accepted.retries_granted {
        0 => String::new(),
        1 => ", 1 retry granted".to_owned(),
        more => format!(", {more} retries granted"),
    };
    let isolation = if accepted.degraded.is_empty() {
        ""
    } else {
        "; isolation is not complete, `helix capacity` says why"
    };
    format!("accepted by {machine} as {attempt_id}{retries}{isolation}")
}

fn exited_line(exited: &Exited) -> String {
    // What never started took no time and no memory, whatever was measured.
    let started = exited
        .ending
        .as_ref()
        .is_none_or(|ending| ending.kind() != EndingKind::CouldNotStart);
    let mut line = match &exited.ending {
        Some(ending) => verdict::ending(ending),
        None => "ended".to_owned(),
    };
    if let Some(elapsed) = units::wire_duration(exited.elapsed).filter(|_| started) {
        line.push_str(&format!(" after {}", units::duration(elapsed)));
    }
    let mut use_of = Vec::new();
    if let Some(cpu_time) = units::wire_duration(exited.cpu_time).filter(|_| started) {
        use_of.push(format!("{} of CPU", units::duration(cpu_time)));
    }
    if exited.peak_memory_bytes > 0 && started {
        use_of.push(format!(
            "{} at most",
            units::bytes(exited.peak_memory_bytes)
        ));
    }
    if !use_of.is_empty() {
        line.push_str(&format!(" ({})", use_of.join(", ")));
    }
    if !exited.leftovers.is_empty() {
        const SHOWN: usize = 10;
        let mut names: Vec<String> = exited
            .leftovers
            .iter()
            .take(SHOWN)
            .map(|process| format!("{} ({})", text::line(&process.name, 40), process.pid))
            .collect();
        if exited.leftovers.len() > SHOWN {
            names.push(format!("and {} more", exited.leftovers.len() - SHOWN));
        }
        line.push_str(&format!(
            "; killed what was left behind: {}",
            names.join(", ")
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{Ending, LeftoverProcess, Preparing, Warning};

    use super::*;

    fn check(kind: Kind, expected: &str) {
        let event = AttemptEvent {
            kind: Some(kind),
            ..AttemptEvent::default()
        };
        assert_eq!(
            line(&event, "a.1", Palette::Plain).as_deref(),
            Some(expected)
        );
    }

    #[test]
    fn an_exit_says_what_it_cost_and_who_was_left_behind() {
        let ending = Ending {
            kind: EndingKind::Exited.into(),
            exit_code: Some(3),
            ..Ending::default()
        };
        let leftover = |pid, name: &str| LeftoverProcess {
            pid,
            name: name.to_owned(),
            age: None,
        };
        let exited = Exited {
            ending: Some(ending),
            elapsed: Some(prost_types::Duration {
                seconds: 12,
                nanos: 300_000_000,
            }),
            cpu_time: Some(prost_types::Duration {
                seconds: 9,
                nanos: 0,
            }),
            peak_memory_bytes: 1 << 20,
            leftovers: vec![leftover(77, "sleep"), leftover(78, "a\x1bb")],
        };
        check(
            Kind::Exited(exited),
            "exited with code 3 after 12.3 s (9 s of CPU, 1.0 MiB at most); killed what was left \
             behind: sleep (77), a\\u{1b}b (78)",
        );
    }

    #[test]
    fn words_of_the_agent_are_shown_on_one_line() {
        let step = "fetching\npayload 1 of 2".to_owned();
        check(
            Kind::Preparing(Preparing { step }),
            "fetching payload 1 of 2",
        );
        let message = "disk is filling".to_owned();
        check(
            Kind::Warning(Warning { message }),
            "warning: disk is filling",
        );
    }

    #[test]
    fn what_the_machine_is_called_and_grants_is_told_at_once() {
        let accepted = Accepted {
            machine: "build-7".to_owned(),
            retries_granted: 1,
            degraded: vec!["no user of its own".to_owned()],
            ..Accepted::default()
        };
        check(
            Kind::Accepted(accepted),
            "accepted by build-7 as a.1, 1 retry granted; isolation is not complete, `helix \
             capacity` says why",
        );
    }
}
