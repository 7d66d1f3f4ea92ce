//! Every way in which a request can be wrong, and the field that is named for it.

use super::*;
use crate::work_item::reader::MAX_PROBLEMS;
use crate::work_item::{
    MAX_CORRELATION_PAYLOADS, MAX_GLOBS, MAX_PAYLOADS, MAX_REQUIREMENTS, MAX_SECRET_BYTES,
    MAX_SECRETS, MAX_VARIABLE_BYTES, MAX_VARIABLE_NAME_BYTES, MAX_VARIABLES,
};

/// What `spoil` does to a good work item must be said of exactly the fields `expected`, given
/// without `work_item.`.
#[track_caller]
pub(super) fn check(expected: &[&str], spoil: impl FnOnce(&mut v1::WorkItem)) -> Vec<String> {
    let mut message = least();
    spoil(&mut message);
    let problems = read(message).expect_err("it is wrong");
    let paths: Vec<&str> = problems
        .iter()
        .map(|problem| {
            problem
                .path
                .strip_prefix("work_item.")
                .unwrap_or(&problem.path)
        })
        .collect();
    assert_eq!(paths, expected, "{problems:?}");
    problems
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

#[track_caller]
pub(super) fn check_fine(change: impl FnOnce(&mut v1::WorkItem)) {
    let mut message = least();
    change(&mut message);
    if let Err(problems) = read(message) {
        panic!("{problems:?}");
    }
}

#[test]
fn work_item_must_be_there() {
    let problems = crate::work_item::work_item(None, &queue()).expect_err("nothing is there");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, "work_item");
}

#[test]
fn names_that_are_wrong_are_named() {
    for bad in ["", ".x", "-x", "a/b", "a b", "ü", "a\0", &"a".repeat(129)] {
        check(&["work_item_id"], |item| item.work_item_id = bad.to_owned());
        check(&["job_id"], |item| item.job_id = bad.to_owned());
        check(&["attempt_id"], |item| item.attempt_id = bad.to_owned());
        if !bad.is_empty() {
            check(&["queue"], |item| item.queue = bad.to_owned());
        }
    }
    for bad in ["two\nlines", "\u{202E}x", &"a".repeat(257)] {
        check(&["friendly_name"], |item| {
            item.friendly_name = bad.to_owned()
        });
    }
    check_fine(|item| item.friendly_name = "ü".repeat(256));
}

#[test]
fn commands_that_cannot_be_run_are_named() {
    let with = |kind| {
        move |item: &mut v1::WorkItem| {
            item.command = Some(v1::Command {
                kind,
                output_mode: 0,
            });
        }
    };
    check(&["command"], |item| item.command = None);
    check(&["command"], with(None));
    check(&["command.argv.arguments"], with(argv(&[])));
    check(&["command.argv.arguments[0]"], with(argv(&["", "x"])));
    check(&["command.argv.arguments[0]"], with(argv(&["a\0"])));
    let long = "x".repeat(131_072);
    let messages = check(
        &["command.argv.arguments[1]", "command.argv.arguments[3]"],
        with(argv(&["a", "b\0", "", &long])),
    );
    assert_eq!(messages[0], "it has a NUL character at byte 1");
    assert_eq!(messages[1], "it has 131072 bytes, the limit is 131071");
    check_fine(with(argv(&["a", &long[1..]])));
    let shell = |line: &str| with(Some(v1::command::Kind::Shell(line.to_owned())));
    check(&["command.shell"], shell(""));
    check(&["command.shell"], shell(" \n"));
    check(&["command.shell"], shell("a\0"));
    check(&["command.shell"], shell(&long));
    for bad in [3, -1, i32::MAX] {
        check(&["command.output_mode"], |item| {
            item.command.get_or_insert_default().output_mode = bad;
        });
    }
}

#[test]
fn variables_that_cannot_be_set_are_named() {
    let with = |variables: Vec<v1::EnvironmentVariable>| {
        move |item: &mut v1::WorkItem| item.environment = variables
    };
    check(
        &[
            "environment[1].name",
            "environment[2].name",
            "environment[3].value",
        ],
        with(vec![
            variable("A", "1"),
            variable("", ""),
            variable("B=C", ""),
            variable("D", "x\0"),
        ]),
    );
    check(&["environment[0].name"], with(vec![variable("A\n", "")]));
    check(
        &["environment[0].name"],
        with(vec![variable("HELIX_X", "")]),
    );
    check_fine(with(vec![variable("HELIX", ""), variable("helix_x", "")]));
    check(
        &["environment[2].name"],
        with(vec![
            variable("A", "1"),
            variable("a", "2"),
            variable("A", "1"),
        ]),
    );
    let name = "N".repeat(MAX_VARIABLE_NAME_BYTES);
    check_fine(with(vec![variable(&name, "")]));
    check(
        &["environment[0].name"],
        with(vec![variable(&(name.clone() + "N"), "")]),
    );
    let value = "v".repeat(MAX_VARIABLE_BYTES - 1);
    check_fine(with(vec![variable("A", &value)]));
    check(
        &["environment[0].value"],
        with(vec![variable("AB", &value)]),
    );
    let many: Vec<_> = (0..=MAX_VARIABLES)
        .map(|index| variable(&format!("V{index}"), ""))
        .collect();
    check_fine(with(many[1..].to_vec()));
    check(&["environment"], with(many));
}

#[test]
fn secrets_that_cannot_be_masked_are_named() {
    let with = |secrets: Vec<String>| move |item: &mut v1::WorkItem| item.secrets = secrets;
    let longest = "s".repeat(MAX_SECRET_BYTES);
    check(
        &["secrets[0]", "secrets[1]", "secrets[3]"],
        with(vec![
            String::new(),
            " ab ".to_owned(),
            longest.clone(),
            longest + "s",
        ]),
    );
    check_fine(with(vec!["abc".to_owned(); MAX_SECRETS]));
    check(&["secrets"], with(vec!["abc".to_owned(); MAX_SECRETS + 1]));
}

#[test]
fn payloads_that_cannot_be_fetched_are_named() {
    let commit = "a".repeat(40);
    let bad = |path: &str, payload: v1::Payload| {
        check(&[&format!("payloads[1]{path}")], |item| {
            item.payloads = vec![url("https://example.com/a.zip"), payload.clone()];
        });
        check(&[&format!("correlation_payloads[0]{path}")], |item| {
            item.correlation_payloads = vec![payload];
        });
    };
    bad("", v1::Payload::default());
    for address in [
        "",
        "a.zip",
        "ftp://x/a",
        "https:///a",
        "file://x/a",
        "https://x/ a",
    ] {
        bad(".url", url(address));
        bad(".git.url", git(address, &commit));
    }
    bad(".url", url(&format!("https://x/{}", "a".repeat(8192))));
    bad(".url", url("ssh://x/a"));
    bad(".git.url", git("ext::sh", &commit));
    for name in ["", "main", "abc123", &"g".repeat(40), &"a".repeat(41)] {
        bad(".git.commit", git("ssh://git@x/a", name));
    }
    for destination in [
        "/a",
        "..",
        "a/../b",
        "a\\b",
        "a\0",
        &"a".repeat(256),
        &"a/".repeat(513),
    ] {
        let mut payload = url("https://x/a");
        payload.destination = destination.to_owned();
        bad(".destination", payload);
    }
    for length in [1, 31, 33, 64] {
        let mut payload = url("https://x/a");
        payload.sha256 = vec![0; length];
        bad(".sha256", payload);
    }
    for length in [1, 32] {
        let mut payload = git("https://x/a", &commit);
        payload.sha256 = vec![0; length];
        bad(".sha256", payload);
    }
}

#[test]
fn everything_wrong_with_one_payload_is_said() {
    check(
        &[
            "payloads[0].git.url",
            "payloads[0].git.commit",
            "payloads[0].destination",
            "payloads[0].sha256",
        ],
        |item| {
            let mut payload = git("", "");
            payload.destination = "..".to_owned();
            payload.sha256 = vec![1];
            item.payloads = vec![payload];
        },
    );
}

#[test]
fn lists_that_are_too_long_are_named() {
    let payloads = |count| vec![url("https://x/a"); count];
    check_fine(|item| item.payloads = payloads(MAX_PAYLOADS));
    check(&["payloads"], |item| {
        item.payloads = payloads(MAX_PAYLOADS + 1)
    });
    check_fine(|item| item.correlation_payloads = payloads(MAX_CORRELATION_PAYLOADS));
    check(&["correlation_payloads"], |item| {
        item.correlation_payloads = payloads(MAX_CORRELATION_PAYLOADS + 1);
    });
    let requirements = |count| vec![requirement("os", ""); count];
    check_fine(|item| item.requirements = requirements(MAX_REQUIREMENTS));
    check(&["requirements"], |item| {
        item.requirements = requirements(MAX_REQUIREMENTS + 1)
    });
    let globs = |count| vec!["*.log".to_owned(); count];
    check_fine(|item| item.artifact_globs = globs(MAX_GLOBS));
    check(&["artifact_globs"], |item| {
        item.artifact_globs = globs(MAX_GLOBS + 1)
    });
}

#[test]
fn requirements_that_cannot_be_read_are_named() {
    check(
        &[
            "requirements[1].name",
            "requirements[1].range",
            "requirements[2].range",
        ],
        |item| {
            item.requirements = vec![
                requirement("xcode", ">=16, <17"),
                requirement("-x", ">"),
                requirement("os", "="),
            ];
        },
    );
    check(&["requirements[0].name"], |item| {
        item.requirements = vec![requirement("", "1")];
    });
    let long = format!(">={}", "1".repeat(1024));
    check(&["requirements[0].range"], |item| {
        item.requirements = vec![requirement("os", &long)];
    });
}

#[test]
fn globs_that_could_leave_their_root_are_named() {
    check(
        &[
            "artifact_globs[0]",
            "artifact_globs[1]",
            "artifact_globs[3]",
            "artifact_globs[4]",
            "artifact_globs[5]",
        ],
        |item| {
            let globs = ["", "/etc/*", "**/*.log", "a/../b", "a\0", &"a".repeat(1025)];
            item.artifact_globs = globs.map(ToOwned::to_owned).to_vec();
        },
    );
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_fields() {
    let item = v1::WorkItem {
        friendly_name: "\n".to_owned(),
        queue: "?".to_owned(),
        environment: vec![variable("", "")],
        secrets: vec!["x".to_owned()],
        payloads: vec![v1::Payload::default()],
        correlation_payloads: vec![v1::Payload::default()],
        limits: Some(v1::Limits {
            output_bytes: 1,
            ..v1::Limits::default()
        }),
        requirements: vec![requirement("", "")],
        artifact_globs: vec![String::new()],
        delivery: Some(v1::Delivery {
            number: 2,
            ..v1::Delivery::default()
        }),
        ..v1::WorkItem::default()
    };
    check(
        &[
            "work_item_id",
            "job_id",
            "attempt_id",
            "friendly_name",
            "queue",
            "command",
            "environment[0].name",
            "secrets[0]",
            "payloads[0]",
            "correlation_payloads[0]",
            "limits.output_bytes",
            "requirements[0].name",
            "artifact_globs[0]",
            "delivery.number",
        ],
        |message| *message = item,
    );
}

#[test]
fn request_with_a_million_faults_is_answered_with_few() {
    let mut message = least();
    message.command = Some(v1::Command {
        kind: Some(v1::command::Kind::Argv(v1::Argv {
            arguments: vec!["\0".to_owned(); 1_000_000],
        })),
        output_mode: 0,
    });
    let problems = read(message).expect_err("all wrong");
    assert_eq!(problems.len(), MAX_PROBLEMS);
}
