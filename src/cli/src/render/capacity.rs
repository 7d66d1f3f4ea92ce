//! What an agent can take, as a page.

use helix_proto::agent::v1::{AgentState, Capacity, Provisioning, Resources, RunningAttempt};
use jiff::Timestamp;

use super::{Palette, text, units, verdict};

/// The agent's state in a word.
pub(crate) fn state_text(state: AgentState) -> &'static str {
    match state {
        AgentState::Unspecified => "unknown",
        AgentState::Ready => "ready",
        AgentState::Full => "full",
        AgentState::Draining => "draining",
        AgentState::Offline => "offline",
        AgentState::Quarantined => "quarantined",
        AgentState::Probation => "probation",
        AgentState::NotIsolated => "not isolated",
    }
}

/// The page, each line ended. What is not there takes no line.
pub(crate) fn page(capacity: &Capacity, now: Timestamp, palette: Palette) -> String {
    let mut page = Page {
        lines: String::new(),
        palette,
    };
    let agent = capacity.agent.clone().unwrap_or_default();
    let machine = text::line(&agent.machine, 80);
    let system = [&agent.operating_system, &agent.architecture]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| text::line(part, 80))
        .collect::<Vec<_>>()
        .join(", ");
    page.plain(&format!(
        "{} {}",
        palette.bold(machine),
        palette.dim(system)
    ));
    page.row("state", &state(capacity, palette));
    for reason in &capacity.reasons {
        page.row("", &text::line(reason, 300));
    }
    let mut who = format!("version {}", text::line(&agent.version, 40));
    if let Some(started) = units::wire_time(agent.started) {
        who.push_str(&format!(
            ", up {}",
            units::duration(units::between(started, now))
        ));
    }
    page.row("agent", &who);
    let queues = match agent.queues.as_slice() {
        [] => "all".to_owned(),
        queues => text::line(&queues.join(", "), 300),
    };
    page.row("queues", &queues);
    resources(
        &mut page,
        capacity.free.unwrap_or_default(),
        capacity.total.unwrap_or_default(),
    );
    if let Some(pressure) = &capacity.pressure {
        let withheld = units::count(pressure.slots_withheld.into(), "slot");
        page.row(
            "pressure",
            &format!(
                "{}: cpu {:.1} %, memory {:.1} %, io {:.1} %; {withheld} withheld",
                text::line(&pressure.level, 20),
                pressure.cpu_percent,
                pressure.memory_percent,
                pressure.io_percent
            ),
        );
    }
    page.rows(
        "running",
        capacity.running.iter().map(|attempt| running(attempt, now)),
    );
    page.rows(
        "has",
        capacity.capabilities.iter().map(|capability| {
            let what = [&capability.versions[..], &capability.texts[..]]
                .concat()
                .join(", ");
            text::line(&format!("{} {what}", capability.name), 200)
        }),
    );
    page.rows(
        "installing",
        capacity
            .provisioning
            .iter()
            .map(|one| provisioning(one, now)),
    );
    page.rows(
        "isolation",
        capacity.isolation.iter().map(|line| text::line(line, 200)),
    );
    page.rows(
        "missing",
        capacity.degraded.iter().map(|line| text::line(line, 300)),
    );
    page.lines
}

struct Page {
    lines: String,
    palette: Palette,
}

impl Page {
    fn plain(&mut self, line: &str) {
        self.lines.push_str(line.trim_end());
        self.lines.push('\n');
    }

    fn row(&mut self, title: &str, value: &str) {
        let title = self.palette.dim(format!("{title:<10}"));
        self.plain(&format!("  {title} {value}"));
    }

    fn rows(&mut self, title: &str, values: impl Iterator<Item = String>) {
        for (at, value) in values.enumerate() {
            self.row(if at == 0 { title } else { "" }, &value);
        }
    }
}

fn state(capacity: &Capacity, palette: Palette) -> String {
    let word = state_text(capacity.state());
    let mut state = match capacity.state() {
        AgentState::Ready => palette.green(word).to_string(),
        AgentState::Full | AgentState::Probation | AgentState::Draining => {
            palette.yellow(word).to_string()
        }
        AgentState::Offline
        | AgentState::Quarantined
        | AgentState::NotIsolated
        | AgentState::Unspecified => palette.red(word).to_string(),
    };
    if let Some(since) = units::wire_time(capacity.draining_since) {
        state.push_str(&format!(" since {}", since.strftime("%F %H:%M:%SZ")));
    }
    if let Some(until) = units::wire_time(capacity.quarantined_until) {
        state.push_str(&format!(" until {}", until.strftime("%F %H:%M:%SZ")));
    }
    state
}

fn resources(page: &mut Page, free: Resources, total: Resources) {
    page.row("slots", &format!("{} of {} free", free.slots, total.slots));
    if total.cpu_millis > 0 {
        let cpus = |millis: u64| format!("{}.{}", millis / 1000, millis % 1000 / 100);
        page.row(
            "cpu",
            &format!(
                "{} of {} free",
                cpus(free.cpu_millis),
                cpus(total.cpu_millis)
            ),
        );
    }
    for (title, free, total) in [
        ("memory", free.memory_bytes, total.memory_bytes),
        ("disk", free.disk_bytes, total.disk_bytes),
    ] {
        if total > 0 {
            page.row(
                title,
                &format!("{} of {} free", units::bytes(free), units::bytes(total)),
            );
        }
    }
    if total.processes > 0 {
        page.row(
            "processes",
            &format!("{} of {} free", free.processes, total.processes),
        );
    }
}

fn running(attempt: &RunningAttempt, now: Timestamp) -> String {
    let name = text::line(&attempt.friendly_name, 60);
    let state = verdict::attempt_state_text(attempt.state());
    let mut line = format!("{name} {state}");
    if let Some(accepted) = units::wire_time(attempt.accepted) {
        line.push_str(&format!(
            " {}",
            units::duration(units::between(accepted, now))
        ));
    }
    format!("{line} ({})", text::line(&attempt.attempt_id, 128))
}

fn provisioning(one: &Provisioning, now: Timestamp) -> String {
    let mut line = text::line(&format!("{} {}", one.capability, one.wanted), 100);
    line.push_str(&format!(
        ": {}",
        text::line(&one.state, 20).to_lowercase().replace('_', " ")
    ));
    if let Some(since) = units::wire_time(one.since) {
        line.push_str(&format!(
            " for {}",
            units::duration(units::between(since, now))
        ));
    }
    if let Some(end) = units::wire_time(one.expected_end) {
        line.push_str(&format!(
            ", {} to go",
            units::duration(units::between(now, end))
        ));
    }
    if !one.last_error.is_empty() {
        line.push_str(&format!(
            "; last error: {}",
            text::line(&one.last_error, 200)
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{AgentInfo, Capability, Pressure};

    use super::*;

    fn time(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn a_busy_agent_shows_what_it_does_and_lacks() {
        let capacity = Capacity {
            agent: Some(AgentInfo {
                machine: "build-7".to_owned(),
                version: "0.1.0".to_owned(),
                queues: vec!["linux".to_owned()],
                operating_system: "Debian 13".to_owned(),
                architecture: "x86_64".to_owned(),
                started: time(1000),
                ..AgentInfo::default()
            }),
            state: AgentState::Draining.into(),
            reasons: vec!["It drains: kernel update.".to_owned()],
            total: Some(Resources {
                slots: 4,
                cpu_millis: 8000,
                memory_bytes: 16 << 30,
                ..Resources::default()
            }),
            free: Some(Resources {
                slots: 1,
                cpu_millis: 2500,
                memory_bytes: 3 << 30,
                ..Resources::default()
            }),
            pressure: Some(Pressure {
                level: "HIGH".to_owned(),
                cpu_percent: 61.25,
                slots_withheld: 1,
                ..Pressure::default()
            }),
            running: vec![RunningAttempt {
                attempt_id: "tests-1.1".to_owned(),
                friendly_name: "tests".to_owned(),
                state: 2,
                accepted: time(4000),
                ..RunningAttempt::default()
            }],
            capabilities: vec![
                Capability {
                    name: "node".to_owned(),
                    versions: vec!["22.1.0".to_owned(), "24.0.1".to_owned()],
                    ..Capability::default()
                },
                Capability {
                    name: "os".to_owned(),
                    texts: vec!["linux".to_owned()],
                    ..Capability::default()
                },
            ],
            provisioning: vec![Provisioning {
                capability: "dotnet-sdk".to_owned(),
                wanted: "9".to_owned(),
                state: "COOLING_DOWN".to_owned(),
                since: time(4590),
                expected_end: time(4660),
                last_error: "exit code 1".to_owned(),
                ..Provisioning::default()
            }],
            isolation: vec!["own session".to_owned()],
            degraded: vec!["no user of its own: not root".to_owned()],
            draining_since: time(4500),
            ..Capacity::default()
        };
        let now = Timestamp::from_second(4600).unwrap();
        insta::assert_snapshot!(page(&capacity, now, Palette::Plain), @r"
        build-7 Debian 13, x86_64
          state      draining since 1970-01-01 01:15:00Z
                     It drains: kernel update.
          agent      version 0.1.0, up 1 h 00 min
          queues     linux
          slots      1 of 4 free
          cpu        2.5 of 8.0 free
          memory     3.0 GiB of 16.0 GiB free
          pressure   HIGH: cpu 61.2 %, memory 0.0 %, io 0.0 %; 1 slot withheld
          running    tests running 10 min (tests-1.1)
          has        node 22.1.0, 24.0.1
                     os linux
          installing dotnet-sdk 9: cooling down for 10 s, 1 min to go; last error: exit code 1
          isolation  own session
          missing    no user of its own: not root
        ");
    }

    #[test]
    fn an_agent_that_says_nothing_still_makes_a_page() {
        let page = page(&Capacity::default(), Timestamp::UNIX_EPOCH, Palette::Plain);
        assert!(page.contains("\n  state      unknown\n"), "{page}");
        assert!(page.ends_with("\n  slots      0 of 0 free\n"), "{page}");
    }
}
