//! Refusals in words: what is wrong, why, and what to do about it.
//!
//! Each is one line that starts in lower case and has no full stop, so that it reads after a colon.
//! What the sender wrote (names, reasons) is cut, for it ends up in logs and on screens.

use std::fmt::Display;
use std::time::SystemTime;

use super::refusal::{CoolingDown, FieldProblem, Installation, MissingMeasure, Phase, Refusal};
use crate::capability::Missing;
use crate::ids::QueueName;
use crate::plain_words::{bytes, counted, cpus, utc};
use crate::pressure::PressureLevel;
use crate::resources::{ResourceKind, Shortfall};

/// How much of a text that came from outside is repeated, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// How much of a name that came from outside is repeated, in characters.
const MAX_NAME_CHARS: usize = 80;

/// How many entries of a list are named before the rest is only counted.
const MAX_LISTED: usize = 4;

/// The longest sentence, in characters. It travels in a header, and those are limited to 8 KiB in
/// common clients.
const MAX_SENTENCE_CHARS: usize = 2000;

pub(super) fn sentence(refusal: &Refusal) -> String {
    cut(&whole_sentence(refusal), MAX_SENTENCE_CHARS)
}

fn whole_sentence(refusal: &Refusal) -> String {
    match refusal {
        Refusal::BadRequest { problems } => {
            let problems = listed(problems, "; ", |FieldProblem { path, message }| {
                format!("`{}`: {}", name(path), quoted(message))
            });
            format!("the request is wrong: {problems}; correct it before sending it again")
        }
        Refusal::Duplicate { attempt } => format!(
            "attempt `{attempt}` was taken before, and no attempt runs twice: attach to it to see \
             what it does or how it ended"
        ),
        Refusal::Superseded { attempt, by } => format!(
            "attempt `{attempt}` comes too late, attempt `{by}` of the same work item has taken \
             its place: drop it"
        ),
        Refusal::Offline { reason } if reason.trim().is_empty() => {
            "this machine was taken out of service, no reason is given: use another machine, or \
             remove the `offline` file"
                .to_owned()
        }
        Refusal::Offline { reason } => format!(
            "this machine is out of service ({}): use another machine, or see to the reason, and \
             remove the `offline` file if there is one",
            quoted(reason)
        ),
        Refusal::Draining { since } => format!(
            "this agent has been draining since {} and takes nothing new: use another machine, or \
             resume the agent",
            utc(*since)
        ),
        Refusal::WrongQueue { asked, served } => {
            let served = listed(served, ", ", |queue: &QueueName| format!("`{queue}`"));
            format!(
                "this agent does not serve the queue `{asked}`, it serves {served}: send the item \
                 to an agent of that queue"
            )
        }
        Refusal::NotIsolated { missing } => {
            let missing = listed(missing, ", ", |MissingMeasure { name: measure, why }| {
                format!("`{}` ({})", name(measure), quoted(why))
            });
            format!(
                "this machine cannot hold the item back as it must, not in force: {missing}; use \
                 another machine, or set up the launcher of this one for it"
            )
        }
        Refusal::Unhealthy {
            failures,
            until: Some(until),
        } => format!(
            "this machine failed {} in a row and is in quarantine until {}: use another machine, \
             and look at the agent's log for the failures",
            times(*failures),
            utc(*until)
        ),
        Refusal::Unhealthy {
            failures,
            until: None,
        } => format!(
            "this machine failed {} in a row and is on probation, one item at a time, and one is \
             running: use another machine, or ask again when that item has ended",
            times(*failures)
        ),
        Refusal::TooLarge { shortfalls } => {
            let wanted = listed(shortfalls, ", ", |shortfall: &Shortfall| {
                format!(
                    "{}, of which the machine has {}",
                    amount(shortfall.kind, shortfall.wanted),
                    plain_amount(shortfall.kind, shortfall.available)
                )
            });
            format!(
                "the item wants more than this machine will ever have: {wanted}; want less, or \
                 use a larger machine"
            )
        }
        Refusal::MissingCapability {
            missing,
            installations,
            cooling_down,
        } => missing_capability(missing, installations, cooling_down),
        Refusal::Provisioning { installations } => {
            let installations = listed(installations, ", ", installation);
            format!(
                "this machine lacks what is being installed now: {installations}; ask again then, \
                 or use a machine that has it"
            )
        }
        Refusal::SlotsFull {
            slots,
            wanted,
            free,
            pressure,
            free_by,
        } => {
            let why = match pressure {
                PressureLevel::Calm => "",
                PressureLevel::Elevated | PressureLevel::High | PressureLevel::Critical => {
                    ", since the machine is hard pressed and fewer slots are in use than it has"
                }
            };
            format!(
                "the item wants {}, {free} of {slots} {} free{why}: {}",
                counted(u64::from(*wanted), "slot"),
                if *free == 1 { "is" } else { "are" },
                when_to_ask(*free_by)
            )
        }
        Refusal::CpuShort {
            wanted,
            free,
            total,
            free_by,
        } => short(ResourceKind::Cpu, [*wanted, *free, *total], *free_by),
        Refusal::MemoryShort {
            wanted,
            free,
            total,
            free_by,
        } => short(ResourceKind::Memory, [*wanted, *free, *total], *free_by),
        Refusal::DiskShort {
            wanted,
            free,
            total,
            free_by,
        } => short(ResourceKind::Disk, [*wanted, *free, *total], *free_by),
    }
}

fn missing_capability(
    missing: &[Missing],
    installations: &[Installation],
    cooling_down: &[CoolingDown],
) -> String {
    let mut text = format!("this machine lacks {}", listed(missing, ", ", quoted));
    if !installations.is_empty() {
        text += &format!(
            "; of this is being installed: {}",
            listed(installations, ", ", installation)
        );
    }
    if !cooling_down.is_empty() {
        let failed = listed(cooling_down, ", ", |cooling_down: &CoolingDown| {
            format!(
                "`{}` by `{}` ({}), not tried again before {}",
                name(&cooling_down.missing.requirement()),
                name(&cooling_down.provisioner),
                quoted(&cooling_down.last_error),
                utc(cooling_down.until)
            )
        });
        text += &format!("; installing failed: {failed}");
    }
    text + "; send the item to a machine that has all of it, or install it here"
}

fn installation(installation: &Installation) -> String {
    let requirement = name(&installation.missing.requirement());
    let expected = match installation.phase.expected_end() {
        Some(end) => format!("expected to be done at {}", utc(end)),
        None => "it is not known how long that takes".to_owned(),
    };
    let provisioner = name(&installation.provisioner);
    match installation.phase {
        Phase::ToStart { .. } => {
            format!("`{requirement}` by `{provisioner}`, just started, {expected}")
        }
        Phase::UnderWay { since, .. } => {
            format!(
                "`{requirement}` by `{provisioner}` since {}, {expected}",
                utc(since)
            )
        }
    }
}

fn short(
    kind: ResourceKind,
    [wanted, free, total]: [u64; 3],
    free_by: Option<SystemTime>,
) -> String {
    format!(
        "the item wants {}, of {} {} free: {}",
        amount(kind, wanted),
        plain_amount(kind, total),
        if free == 0 {
            "none is".to_owned()
        } else {
            format!("{} is", plain_amount(kind, free))
        },
        when_to_ask(free_by)
    )
}

fn when_to_ask(free_by: Option<SystemTime>) -> String {
    match free_by {
        Some(time) => {
            format!(
                "use another machine, or ask again; an item here ends by {}",
                utc(time)
            )
        }
        None => "use another machine, or ask again when an item has ended".to_owned(),
    }
}

/// An amount with the name of what it is of.
fn amount(kind: ResourceKind, value: u64) -> String {
    match kind {
        ResourceKind::Slots => counted(value, "slot"),
        ResourceKind::Cpu => format!("{} CPU", cpus(value)),
        ResourceKind::Memory => format!("{} of memory", bytes(value)),
        ResourceKind::Disk => format!("{} of disk space", bytes(value)),
    }
}

/// An amount where it is plain what it is of.
fn plain_amount(kind: ResourceKind, value: u64) -> String {
    match kind {
        ResourceKind::Slots => value.to_string(),
        ResourceKind::Cpu => cpus(value),
        ResourceKind::Memory | ResourceKind::Disk => bytes(value),
    }
}

fn times(count: u32) -> String {
    counted(u64::from(count), "time")
}

/// A list of which only the first entries are written out.
fn listed<T>(items: &[T], separator: &str, write: impl Fn(&T) -> String) -> String {
    let mut texts: Vec<String> = items.iter().take(MAX_LISTED).map(write).collect();
    if items.len() > MAX_LISTED {
        texts.push(format!("and {} more", items.len() - MAX_LISTED));
    }
    texts.join(separator)
}

/// A text from outside on one line and not too long.
fn quoted(text: &(impl Display + ?Sized)) -> String {
    cut(&text.to_string(), MAX_QUOTED_CHARS)
}

/// A name from outside on one line and not too long.
fn name(text: &(impl Display + ?Sized)) -> String {
    cut(&text.to_string(), MAX_NAME_CHARS)
}

fn cut(text: &str, limit: usize) -> String {
    let mut characters = text.trim().chars().map(|character| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    });
    let mut plain: String = characters.by_ref().take(limit).collect();
    if characters.next().is_some() {
        plain.push('…');
    }
    plain
}
