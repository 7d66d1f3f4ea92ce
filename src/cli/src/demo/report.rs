//! What became of the work items, and whether that is what was meant. Pure.

use std::time::Duration;

use helix_proto::agent::v1::{TestCounts, VerdictKind};

use super::suites::Expected;
use crate::client::answer::Refusal;
use crate::queue::Settlement;
use crate::render::table::{Cell, Style, Table};
use crate::render::{Palette, units, verdict};
use crate::summary::{End, Summary};

/// What is known of one work item.
#[derive(Debug, Default)]
pub(super) struct Record {
    deliveries: u32,
    requeued: u32,
    time: Duration,
    last: Option<Last>,
}

/// How its last offer ended.
#[derive(Debug, Clone, PartialEq)]
enum Last {
    Refused {
        reason: String,
    },
    Ended {
        kind: VerdictKind,
        counts: Option<TestCounts>,
    },
}

impl Record {
    /// Remembers a refusal.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.last = Some(Last::Refused {
            reason: refusal.reason.clone(),
        });
    }

    /// Remembers an attempt that ended.
    pub(super) fn ended(&mut self, summary: &Summary) {
        self.deliveries += 1;
        self.time += summary.elapsed().unwrap_or_default();
        if let Some(End::Requeued(_)) = summary.end() {
            self.requeued += 1;
        }
        let kind = summary
            .end()
            .and_then(End::verdict)
            .map(|verdict| verdict.kind());
        let counts = summary.results().and_then(|results| results.counts);
        self.last = Some(Last::Ended {
            kind: kind.unwrap_or_default(),
            counts,
        });
    }

    /// Whether it went as it was meant to. A suite without tests proves nothing.
    pub(super) fn is_as(&self, expected: Expected) -> bool {
        let passed = matches!(
            &self.last,
            Some(Last::Ended { kind: VerdictKind::Passed, counts: Some(counts) })
                if counts.passed > 0 && counts.failed == 0
        );
        match expected {
            Expected::Passes => passed && self.requeued == 0,
            Expected::PassesOnRetry => passed && self.requeued == 1 && self.deliveries == 2,
            Expected::Refused => {
                self.deliveries == 0 && matches!(self.last, Some(Last::Refused { .. }))
            }
        }
    }

    fn verdict(&self) -> Cell {
        match &self.last {
            None => Cell::styled("never offered", Style::Odd),
            Some(Last::Refused { reason }) => {
                Cell::styled(format!("refused: {reason}"), Style::Odd)
            }
            Some(Last::Ended { kind, .. }) => {
                let on_retry = match (kind, self.requeued) {
                    (VerdictKind::Passed, 1..) => " on retry",
                    _ => "",
                };
                let text = format!("{}{on_retry}", verdict::kind_text(*kind));
                Cell::styled(text, verdict::kind_style(*kind))
            }
        }
    }

    fn counts(&self) -> Option<TestCounts> {
        match &self.last {
            Some(Last::Ended { counts, .. }) => *counts,
            Some(Last::Refused { .. }) | None => None,
        }
    }
}

/// The table at the end, each line ended.
pub(super) fn table<'a>(
    records: impl IntoIterator<Item = (&'a str, &'a Record)>,
    palette: Palette,
) -> String {
    let head = [
        "WORK ITEM",
        "DELIVERIES",
        "VERDICT",
        "PASSED",
        "FAILED",
        "SKIPPED",
        "TIME",
    ];
    let mut table = Table::new(head);
    let number = |counts: Option<TestCounts>, of: fn(&TestCounts) -> u64| {
        counts.map_or_else(String::new, |counts| of(&counts).to_string())
    };
    for (name, record) in records {
        let counts = record.counts();
        let time = match record.deliveries {
            0 => String::new(),
            _ => units::duration(record.time),
        };
        table.push([
            name.into(),
            record.deliveries.to_string().into(),
            record.verdict(),
            number(counts, |counts| counts.passed).into(),
            number(counts, |counts| counts.failed).into(),
            number(counts, |counts| counts.skipped).into(),
            time.into(),
        ]);
    }
    table.render(palette)
}

/// What the queue is to do after an attempt.
pub(super) fn after(summary: &Summary) -> Settlement {
    match summary.end() {
        Some(End::Requeued(requeued)) => Settlement::Requeued {
            delivery: requeued.next_delivery_number,
            retries_used: requeued.next_retries_used,
        },
        Some(end @ End::Returned(returned)) => match end.refusal() {
            Some(refusal) if refusal.is_temporary() => Settlement::ReturnedForNow {
                come_back_in: refusal.retry_after,
                delivery: returned.next_delivery_number,
            },
            Some(_) => Settlement::Over,
            None if returned.next_delivery_number > 0 => Settlement::Returned {
                delivery: returned.next_delivery_number,
            },
            None => Settlement::Over,
        },
        Some(End::Finished(_)) | None => Settlement::Over,
    }
}

/// What the queue is to do after a refusal.
pub(super) fn after_refusal(refusal: &Refusal) -> Settlement {
    if refusal.is_temporary() {
        Settlement::RefusedForNow {
            come_back_in: refusal.retry_after,
        }
    } else {
        Settlement::Over
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use helix_proto::agent::v1::{
        AttemptEvent, Finished, Requeued, ResultsRead, Verdict, attempt_event::Kind,
    };
    use tonic::Code;

    use super::*;

    fn attempt(kinds: impl IntoIterator<Item = Kind>) -> Summary {
        let mut summary = Summary::default();
        for kind in kinds {
            summary.observe(&AttemptEvent {
                kind: Some(kind),
                ..AttemptEvent::default()
            });
        }
        summary
    }

    fn results(passed: u64, failed: u64) -> Kind {
        let total = passed + failed;
        Kind::ResultsRead(ResultsRead {
            counts: Some(TestCounts {
                total,
                passed,
                failed,
                ..TestCounts::default()
            }),
            ..ResultsRead::default()
        })
    }

    fn finished(kind: VerdictKind) -> Kind {
        let verdict = Verdict {
            kind: kind.into(),
            ..Verdict::default()
        };
        Kind::Finished(Finished {
            verdict: Some(verdict),
            ..Finished::default()
        })
    }

    fn requeued() -> Kind {
        Kind::Requeued(Requeued {
            next_delivery_number: 2,
            next_retries_used: 1,
            ..Requeued::default()
        })
    }

    fn refusal(code: Code) -> Refusal {
        Refusal {
            code,
            reason: "MISSING_CAPABILITY".to_owned(),
            message: String::new(),
            metadata: BTreeMap::new(),
            retry_after: Some(Duration::from_secs(1)),
            details: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_meant_counts_as_success() {
        let mut plain = Record::default();
        assert!(!plain.is_as(Expected::Passes), "it was never offered");
        plain.ended(&attempt([results(3, 0), finished(VerdictKind::Passed)]));
        assert!(plain.is_as(Expected::Passes));
        assert!(
            !plain.is_as(Expected::PassesOnRetry),
            "it was never requeued"
        );

        let mut flaky = Record::default();
        flaky.ended(&attempt([results(1, 2), requeued()]));
        assert!(!flaky.is_as(Expected::PassesOnRetry));
        flaky.ended(&attempt([results(3, 0), finished(VerdictKind::Passed)]));
        assert!(flaky.is_as(Expected::PassesOnRetry));
        assert!(!flaky.is_as(Expected::Passes), "it needed a retry");

        let mut empty = Record::default();
        empty.ended(&attempt([finished(VerdictKind::Passed)]));
        assert!(!empty.is_as(Expected::Passes), "no test was read");

        let mut refused = Record::default();
        refused.refused(&refusal(Code::FailedPrecondition));
        assert!(refused.is_as(Expected::Refused));
        assert!(!refused.is_as(Expected::Passes));
    }

    #[test]
    fn the_queue_does_what_the_end_says() {
        let end = attempt([requeued()]);
        assert_eq!(
            after(&end),
            Settlement::Requeued {
                delivery: 2,
                retries_used: 1
            }
        );
        assert_eq!(
            after(&attempt([finished(VerdictKind::Failed)])),
            Settlement::Over
        );
        let come_back_in = Some(Duration::from_secs(1));
        let temporary = after_refusal(&refusal(Code::ResourceExhausted));
        assert_eq!(temporary, Settlement::RefusedForNow { come_back_in });
        assert_eq!(
            after_refusal(&refusal(Code::FailedPrecondition)),
            Settlement::Over
        );
    }

    #[test]
    fn the_table_has_all_that_counts() {
        let mut flaky = Record::default();
        flaky.ended(&attempt([results(1, 2), requeued()]));
        flaky.ended(&attempt([results(3, 0), finished(VerdictKind::Passed)]));
        let mut refused = Record::default();
        refused.refused(&refusal(Code::FailedPrecondition));
        let never = Record::default();
        let rows = [("a 1.0", &flaky), ("b 1.0", &refused), ("c 1.0", &never)];
        insta::assert_snapshot!(table(rows, Palette::Plain), @r"
        WORK ITEM  DELIVERIES  VERDICT                      PASSED  FAILED  SKIPPED  TIME
        a 1.0      2           passed on retry              3       0       0        0 ms
        b 1.0      0           refused: MISSING_CAPABILITY
        c 1.0      0           never offered
        ");
    }
}
