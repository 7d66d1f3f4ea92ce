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
            let user = match started.run_as.as_str() {
                "" => String::new(),
                user => format!(" of user {}", text::line(user, 40)),
            };
            Some(format!("started as process {}{user}{limit}", started.pid))
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
    // The whole tree, where that was counted; else its largest process.
    let peak_memory = match exited.peak_tree_memory_bytes {
        0 => exited.peak_memory_bytes,
        tree => tree,
    };
    if peak_memory > 0 && started {
        use_of.push(format!("{} at most", units::bytes(peak_memory)));
    }
    if !use_of.is_empty() {
        line.push_str(&format!(" ({})", use_of.join(", ")));
    }
    if let Some(kills) = &exited.memory_kills {
        let victims = kills.victims.iter();
        let total = usize::try_from(kills.count).unwrap_or(usize::MAX);
        line.push_str(&format!(
            "; the system killed for want of memory: {}",
            processes(victims.map(|it| (it.name.as_str(), it.pid)), total)
        ));
    }
    for (what, found, total) in [
        (
            "killed what was left behind",
            &exited.leftovers,
            exited.leftovers_total,
        ),
        ("could not be killed", &exited.survivors, 0),
    ] {
        if !found.is_empty() {
            let total = usize::try_from(total).unwrap_or(usize::MAX);
            let found = found.iter().map(|it| (it.name.as_str(), it.pid));
            line.push_str(&format!("; {what}: {}", processes(found, total)));
        }
    }
    if let Some(left) = &exited.files_left {
        let files = units::count(left.count, "file");
        line.push_str(&format!("; {files} could not be taken back"));
    }
    line
}

/// The first of some processes by name and number, and how many there are besides.
fn processes<'a>(known: impl ExactSizeIterator<Item = (&'a str, u32)>, total: usize) -> String {
    const SHOWN: usize = 10;
    let total = total.max(known.len());
    let mut names: Vec<String> = known
        .take(SHOWN)
        .map(|(name, pid)| format!("{} ({pid})", text::line(name, 40)))
        .collect();
    match (names.is_empty(), total - names.len()) {
        (true, more) => return format!("{more} of unknown name"),
        (false, 0) => {}
        (false, more) => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{
        Ending, FilesLeft, KilledProcess, LeftoverProcess, MemoryKills, Preparing, Warning,
    };

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
            ..Exited::default()
        };
        check(
            Kind::Exited(exited),
            "exited with code 3 after 12.3 s (9 s of CPU, 1.0 MiB at most); killed what was left \
             behind: sleep (77), a\\u{1b}b (78)",
        );
    }

    #[test]
    fn an_exit_says_who_was_killed_for_want_of_memory() {
        let victim = KilledProcess {
            pid: 4242,
            name: "cc1plus".to_owned(),
        };
        let exited = Exited {
            peak_memory_bytes: 1 << 20,
            peak_tree_memory_bytes: 3 << 20,
            memory_kills: Some(MemoryKills {
                count: 3,
                victims: vec![victim],
            }),
            files_left: Some(FilesLeft {
                count: 1,
                problems: Vec::new(),
            }),
            ..Exited::default()
        };
        check(
            Kind::Exited(exited),
            "ended (3.0 MiB at most); the system killed for want of memory: cc1plus (4242), and 2 \
             more; 1 file could not be taken back",
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
