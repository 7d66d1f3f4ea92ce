//! Every refusal as a status and as a part of an event, against the table of `agent_service.proto`.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use helix_model::admission::{CoolingDown, FieldProblem, Installation, MissingMeasure, Phase};
use helix_model::capability::{CapabilityName, CapabilityValue, Wanted};
use helix_model::ids::{AttemptId, QueueName};
use helix_model::resources::{ResourceKind, Shortfall};
use tonic_types::StatusExt;

use super::*;
use rows::rows;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_217_765)
}

fn later(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn attempt(id: &str) -> AttemptId {
    AttemptId::new(id).expect("a good id")
}

fn missing(name: &str, wanted: &str, present: Option<&str>) -> Missing {
    Missing {
        name: CapabilityName::new(name).expect("a good name"),
        wanted: Wanted::parse(wanted).expect("a good range"),
        present: present.map(CapabilityValue::text),
        asked_by: None,
    }
}

fn under_way(missing: Missing, expected_end: Option<SystemTime>) -> Installation {
    Installation {
        provisioner: "xcodes".to_owned(),
        missing,
        phase: Phase::UnderWay {
            since: now(),
            expected_end,
        },
    }
}

#[test]
fn every_refusal_is_the_status_of_the_table() {
    for (refusal, code, reason, metadata, wait) in rows() {
        let status = status(&refusal, now());
        assert_eq!(status.code(), code, "{reason}");
        assert_eq!(status.message(), refusal.sentence(), "{reason}");
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (reason, "agent.helix")
        );
        let found: BTreeMap<&str, &str> = info
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, metadata.iter().copied().collect(), "{reason}");
        let found = details.retry_info().and_then(|info| info.retry_delay);
        assert_eq!(found, wait.map(Duration::from_secs), "{reason}");
        assert_eq!(
            details.bad_request().is_some(),
            reason == "BAD_REQUEST",
            "{reason}"
        );
        let about_tools = matches!(reason, "MISSING_CAPABILITY" | "PROVISIONING");
        assert_eq!(
            details.precondition_failure().is_some(),
            about_tools,
            "{reason}"
        );
    }
}

#[test]
fn every_reason_stands_in_the_contract_with_its_code_and_keys() {
    let contract = include_str!("../../../../../proto/helix/agent/v1/agent_service.proto");
    let mut reasons = BTreeSet::new();
    for (refusal, code, reason, metadata, _) in rows() {
        reasons.insert(reason);
        let code: String = format!("{code:?}")
            .char_indices()
            .flat_map(|(index, letter)| {
                let gap = (index > 0 && letter.is_uppercase()).then_some('_');
                gap.into_iter().chain(letter.to_uppercase())
            })
            .collect();
        let mut lines = contract.lines().skip_while(|line| {
            !line
                .split_whitespace()
                .skip(1)
                .take(2)
                .eq([reason, code.as_str()])
        });
        let row = lines
            .next()
            .unwrap_or_else(|| panic!("{reason} has no row with {code}"));
        // A row whose keys do not fit goes on in the next line.
        let next = lines
            .next()
            .filter(|_| row.ends_with(','))
            .unwrap_or_default();
        let promised = format!("{row} {next}");
        let promised: BTreeSet<&str> = promised
            .split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'))
            .collect();
        for (key, _) in metadata {
            assert!(promised.contains(key), "{key} is not in: {row}");
        }
        assert_eq!(refusal.reason(), reason);
    }
    assert_eq!(reasons.len(), 15);
}

#[test]
fn fields_and_capabilities_are_violations() {
    let problem = |path: &str| FieldProblem {
        path: path.to_owned(),
        message: "it is empty".to_owned(),
    };
    let problems = vec![problem("work_item.job_id"), problem("work_item.secrets[0]")];
    let details = status(&Refusal::BadRequest { problems }, now()).get_error_details();
    let fields = details.bad_request().expect("fields are wrong");
    let fields: Vec<(&str, &str)> = fields
        .field_violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect();
    let empty = "it is empty";
    assert_eq!(
        fields,
        [("work_item.job_id", empty), ("work_item.secrets[0]", empty)]
    );

    let refusal = Refusal::MissingCapability {
        missing: vec![
            missing("xcode", "16", Some("15.4")),
            missing("gpu", "", None),
        ],
        installations: Vec::new(),
        cooling_down: Vec::new(),
    };
    let details = status(&refusal, now()).get_error_details();
    let missing = details.precondition_failure().expect("tools are missing");
    let missing: Vec<[&str; 3]> = missing
        .violations
        .iter()
        .map(|violation| {
            let text = violation.description.as_str();
            [violation.r#type.as_str(), violation.subject.as_str(), text]
        })
        .collect();
    assert_eq!(
        missing,
        [
            ["MISSING_CAPABILITY", "xcode", "`xcode 16` (it has 15.4)"],
            ["MISSING_CAPABILITY", "gpu", "`gpu` (it has none)"],
        ]
    );
}

#[test]
fn refusal_in_an_event_says_the_same() {
    for (refusal, code, reason, metadata, wait) in rows() {
        let event = event(&refusal, now());
        assert_eq!(
            event.grpc_code,
            u32::try_from(code as i32).expect("a code"),
            "{reason}"
        );
        assert_eq!(
            (event.reason.as_str(), event.message),
            (reason, refusal.sentence())
        );
        let found: BTreeMap<&str, &str> = event
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, metadata.iter().copied().collect(), "{reason}");
        let found = event.retry_after.map(|wait| wait.seconds);
        assert_eq!(
            found,
            wait.and_then(|wait| i64::try_from(wait).ok()),
            "{reason}"
        );
        assert_eq!(
            event.missing.len(),
            super::missing(&refusal).len(),
            "{reason}"
        );
    }
}

#[test]
fn status_fits_into_what_clients_take_as_headers() {
    let long = "€".repeat(5000);
    let problem = |index: usize| FieldProblem {
        path: format!("work_item.payloads[{index}].destination"),
        message: long.clone(),
    };
    let wide = |index: usize| Missing {
        present: Some(CapabilityValue::text(long.clone())),
        asked_by: Some(long.clone()),
        ..missing(
            &format!("tool{index}{}", "x".repeat(120)),
            &format!("={}", "ü".repeat(64)),
            None,
        )
    };
    let queue = |index: usize| QueueName::new(format!("q{index}")).expect("good");
    for refusal in [
        Refusal::BadRequest {
            problems: (0..100).map(problem).collect(),
        },
        Refusal::Offline {
            reason: long.clone(),
        },
        Refusal::WrongQueue {
            asked: queue(0),
            served: (1..1000).map(queue).collect(),
        },
        Refusal::MissingCapability {
            missing: (0..256).map(wide).collect(),
            installations: Vec::new(),
            cooling_down: Vec::new(),
        },
        Refusal::Provisioning {
            installations: (0..256)
                .map(|index| Installation {
                    provisioner: long.clone(),
                    ..under_way(wide(index), Some(later(9)))
                })
                .collect(),
        },
    ] {
        let status = status(&refusal, now());
        let details = status.get_error_details();
        assert!(details.error_info().is_some());
        let fields = details
            .bad_request()
            .map_or(1, |bad| bad.field_violations.len());
        let tools = details
            .precondition_failure()
            .map_or(1, |failed| failed.violations.len());
        assert!(fields > 0 && tools > 0, "the first is always said");
        let headers = status.into_http::<()>();
        let bytes: usize = headers
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        assert!(
            bytes <= size::MAX_HEADER_BYTES + 256,
            "{} has {bytes}",
            refusal.reason()
        );
    }
}

#[test]
fn many_short_problems_are_told_in_part_and_counted_in_full() {
    let problem = |index: usize| FieldProblem {
        path: format!("work_item.secrets[{index}]"),
        message: "it is empty".to_owned(),
    };
    let refusal = Refusal::BadRequest {
        problems: (0..100).map(problem).collect(),
    };
    let status = status(&refusal, now());
    assert!(
        status.message().contains("and 96 more"),
        "{}",
        status.message()
    );
    let told = status
        .get_error_details()
        .bad_request()
        .map_or(0, |bad| bad.field_violations.len());
    assert!((20..100).contains(&told), "{told}");
}

#[test]
fn levels_of_pressure_have_names() {
    let levels = [
        PressureLevel::Calm,
        PressureLevel::Elevated,
        PressureLevel::High,
        PressureLevel::Critical,
    ];
    assert_eq!(
        levels.map(pressure_level),
        ["CALM", "ELEVATED", "HIGH", "CRITICAL"]
    );
}
