//! `helix ps`: the attempts that an agent knows.

use helix_proto::agent::v1::{AttemptSummary, ListAttemptsRequest, attempt_event::Kind, returned};
use jiff::Timestamp;

use crate::arguments::{Common, OutputFormat, PsArguments};
use crate::client::{Client, Connection, failed};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::AttemptRow;
use crate::render::table::{Cell, Style, Table};
use crate::render::{Palette, text, units, verdict};
use crate::screen::Screen;

/// Rows asked for at a time.
const PAGE: u32 = 500;

/// Lists the attempts.
pub(crate) async fn execute(
    common: &Common,
    arguments: PsArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut client = connection.client();
    let attempts = list(&mut client, !arguments.all, limit).await?;
    if screen.format() == OutputFormat::Json {
        for attempt in &attempts {
            screen.json(&AttemptRow::from(attempt))?;
        }
    } else if attempts.is_empty() {
        let none = if arguments.all {
            "no attempts"
        } else {
            "no attempts running"
        };
        screen.note(none)?;
    } else {
        screen.data(&table(&attempts, Timestamp::now(), screen.out_palette()))?;
    }
    Ok(Exit::Success)
}

/// At most `limit` attempts, newest first.
pub(super) async fn list(
    client: &mut Client,
    running_only: bool,
    limit: usize,
) -> Result<Vec<AttemptSummary>, Error> {
    let mut attempts = Vec::new();
    let mut page_token = String::new();
    while attempts.len() < limit {
        let left = u32::try_from(limit - attempts.len()).unwrap_or(u32::MAX);
        let request = ListAttemptsRequest {
            running_only,
            page_size: left.min(PAGE),
            page_token: page_token.clone(),
        };
        let response = client
            .list_attempts(request)
            .await
            .map_err(failed("list the attempts"))?
            .into_inner();
        attempts.extend(response.attempts);
        // A token that does not move would be asked for for ever.
        if response.next_page_token.is_empty() || response.next_page_token == page_token {
            break;
        }
        page_token = response.next_page_token;
    }
    attempts.truncate(limit);
    Ok(attempts)
}

fn table(attempts: &[AttemptSummary], now: Timestamp, palette: Palette) -> String {
    let mut table = Table::new(["ATTEMPT", "NAME", "STATE", "AGE", "TOOK", "OUTPUT"]);
    for summary in attempts {
        let attempt = summary.attempt.clone().unwrap_or_default();
        let accepted = units::wire_time(attempt.accepted);
        let ended = units::wire_time(summary.ended);
        let since = |end: Option<Timestamp>| match (accepted, end) {
            (Some(accepted), Some(end)) => units::duration(units::between(accepted, end)),
            _ => String::new(),
        };
        table.push([
            text::line(&attempt.attempt_id, 128).into(),
            text::line(&attempt.friendly_name, 40).into(),
            state(summary),
            since(Some(now)).into(),
            since(ended.or(Some(now))).into(),
            units::bytes(summary.console_bytes).into(),
        ]);
    }
    table.render(palette)
}

/// Where it stands, or what became of it.
fn state(summary: &AttemptSummary) -> Cell {
    let terminal = summary
        .terminal_event
        .as_ref()
        .and_then(|event| event.kind.as_ref());
    let (verdict, note) = match terminal {
        Some(Kind::Finished(finished)) => (finished.verdict.as_ref(), ""),
        Some(Kind::Requeued(requeued)) => (requeued.verdict.as_ref(), ", requeued"),
        Some(Kind::Returned(returned)) => match &returned.cause {
            Some(returned::Cause::Verdict(verdict)) => (Some(verdict), ", returned"),
            Some(returned::Cause::Refusal(refusal)) => {
                return Cell::styled(format!("refused: {}", refusal.reason), Style::Odd);
            }
            None => (None, "returned"),
        },
        Some(_) | None => {
            let state = summary
                .attempt
                .as_ref()
                .map(|attempt| attempt.state())
                .unwrap_or_default();
            return verdict::attempt_state_text(state).into();
        }
    };
    let kind = verdict.map(|verdict| verdict.kind()).unwrap_or_default();
    Cell::styled(
        format!("{}{note}", verdict::kind_text(kind)),
        verdict::kind_style(kind),
    )
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{
        AttemptEvent, AttemptState, Finished, Refusal, Requeued, Returned, RunningAttempt, Verdict,
        VerdictKind,
    };

    use super::*;

    fn summary(id: &str, terminal: Option<Kind>) -> AttemptSummary {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        AttemptSummary {
            attempt: Some(RunningAttempt {
                attempt_id: id.to_owned(),
                friendly_name: "tests\x1b[2J".to_owned(),
                state: AttemptState::Running.into(),
                accepted: time(100),
                ..RunningAttempt::default()
            }),
            ended: terminal.as_ref().and_then(|_| time(112)),
            terminal_event: terminal.map(|kind| AttemptEvent {
                kind: Some(kind),
                ..AttemptEvent::default()
            }),
            console_bytes: 2048,
            ..AttemptSummary::default()
        }
    }

    #[test]
    fn every_end_has_a_name_of_its_own() {
        let verdict = |kind: VerdictKind| Verdict {
            kind: kind.into(),
            ..Verdict::default()
        };
        let passed = Finished {
            verdict: Some(verdict(VerdictKind::Passed)),
            ..Finished::default()
        };
        let requeued = Requeued {
            verdict: Some(verdict(VerdictKind::Failed)),
            ..Requeued::default()
        };
        let lost = Returned {
            cause: Some(returned::Cause::Verdict(verdict(
                VerdictKind::Infrastructure,
            ))),
            ..Returned::default()
        };
        let refusal = Refusal {
            reason: "PROVISIONING".to_owned(),
            ..Refusal::default()
        };
        let refused = Returned {
            cause: Some(returned::Cause::Refusal(refusal)),
            ..Returned::default()
        };
        let attempts = [
            summary("a.1", None),
            summary("b.1", Some(Kind::Finished(passed))),
            summary("c.1", Some(Kind::Requeued(requeued))),
            summary("d.1", Some(Kind::Returned(lost))),
            summary("e.1", Some(Kind::Returned(refused))),
        ];
        let now = Timestamp::from_second(160).unwrap();
        insta::assert_snapshot!(table(&attempts, now, Palette::Plain), @r"
        ATTEMPT  NAME            STATE                     AGE    TOOK   OUTPUT
        a.1      tests\u{1b}[2J  running                   1 min  1 min  2.0 KiB
        b.1      tests\u{1b}[2J  passed                    1 min  12 s   2.0 KiB
        c.1      tests\u{1b}[2J  failed, requeued          1 min  12 s   2.0 KiB
        d.1      tests\u{1b}[2J  infrastructure, returned  1 min  12 s   2.0 KiB
        e.1      tests\u{1b}[2J  refused: PROVISIONING     1 min  12 s   2.0 KiB
        ");
    }
}
