//! Submissions, right and wrong.

use helix_proto::agent::v1::payload::Source;

use super::*;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn request(text: &str) -> JobRequest {
    JobRequest::read(text.as_bytes()).expect("its shape is right")
}

fn check(text: &str, expected: &[&str]) {
    let failure = submission(&request(text), "me").expect_err("it is wrong");
    let found: Vec<String> = failure
        .problem()
        .errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.message))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn everything_that_is_wrong_is_named_where_it_was_said() {
    check(
        r#"{"queue": "a/b", "id": ".x", "name": "a\nb", "priority": 5000, "properties": {"a=b": ""},
            "defaults": {"environment": {"HELIX_X": "1", "B": "\u0000"}, "requirements": [{"name": "os", "range": ">="}],
                         "limits": {"wall_timeout_seconds": 0}, "secrets": ["ab"]},
            "items": [
              {"name": "a", "command": {"argv": ["", "x\u0000"]}},
              {"name": "a", "command": {"shell": "true"}},
              {"name": "b", "command": {}},
              {"name": "c", "command": {"shell": "true", "argv": ["true"]}},
              {"name": "", "command": {"shell": "true"}},
              {"name": "d", "command": {"shell": " "}, "environment": {"B": "\u0000", "a b": "1"},
               "requirements": [{"name": "-x"}], "limits": {"wall_timeout_seconds": -1, "kill_grace_seconds": 1e300},
               "resources": {"slots": 0, "memory_bytes": 5}, "secrets": ["a"],
               "artifact_globs": ["/etc/passwd"],
               "payloads": [{}, {"url": "ftp://x/y"}, {"url": "payload:12"}, {"url": "https://h/x", "sha256": "zz"},
                            {"git": {"url": "https://h/r", "commit": "main"}, "destination": "../x"}]}]}"#,
        &[
            "$.queue: it has the character '/' at position 2, allowed are the letters A to Z, digits, `.`, `_` and `-`",
            "$.id: it must not start with '.'",
            "$.name: it has the character '\\n' at position 2, control characters are not allowed",
            "$.priority: it must be from -1000 to 1000",
            "$.properties['a=b']: its name must have 1 to 128 bytes on one line, without `=`",
            "$.items[0].command.argv[0]: it is empty",
            "$.items[0].command.argv[1]: it has a NUL character at byte 1",
            "$.defaults.environment.B: it has a NUL character",
            "$.defaults.environment.HELIX_X: names that begin with `HELIX_` are the agent's",
            "$.defaults.secrets[0]: the secret has 2 bytes; anything shorter than 3 is refused, since masking it would blank out most of the log",
            "$.defaults.limits.wall_timeout_seconds: the wall timeout must be at least 1 ms",
            "$.defaults.requirements[0].range: what is wanted of the capability is neither a range of versions nor `=` and a text: a version is missing at position 3",
            "$.items[1].name: another item has this name",
            "$.items[2].command: neither `argv` nor `shell` is given",
            "$.items[3].command: it has both `argv` and `shell`, one of them is enough",
            "$.items[4].name: it is empty",
            "$.items[5].payloads[0]: neither `url` nor `git` is given",
            "$.items[5].payloads[2].url: after `payload:` come the 64 hexadecimal digits of a SHA-256 digest",
            "$.items[5].payloads[3].sha256: a SHA-256 digest has 64 hexadecimal digits",
            "$.items[5].resources.slots: it must be 1 or more",
            "$.items[5].limits.wall_timeout_seconds: it must be from 0 to 1000000000",
            "$.items[5].limits.kill_grace_seconds: it must be from 0 to 1000000000",
            "$.items[5].command.shell: it is empty",
            "$.items[5].environment.B: it has a NUL character",
            "$.items[5].secrets[0]: the secret has 1 bytes; anything shorter than 3 is refused, since masking it would blank out most of the log",
            "$.items[5].payloads[1].url: the address has the scheme `ftp`, known are `http`, `https` and `file`",
            "$.items[5].payloads[4].git.commit: `main` is not a full commit name of 40 or 64 hexadecimal digits",
            "$.items[5].payloads[4].destination: the path has a `..` component, it must stay below its root",
            "$.items[5].resources.memory_bytes: it is 5, the least that can be asked for is 1048576",
            "$.items[5].requirements[0].name: it has the character '-' at position 1, which is not allowed there",
            "$.items[5].artifact_globs[0]: the pattern is absolute, it must be relative to the working directory",
        ],
    );
}

#[test]
fn a_repeated_submission_has_the_same_items_and_another_one_has_others() {
    let text = |shell: &str| {
        format!(
            r#"{{"queue": "q", "id": "j", "items": [{{"name": "a", "command": {{"shell": "{shell}"}}}}]}}"#
        )
    };
    let id = |text: &str| {
        submission(&request(text), "me").unwrap().items[0]
            .id
            .clone()
    };
    assert_eq!(id(&text("true")), id(&text("true")));
    assert_ne!(id(&text("true")), id(&text("false")));
    assert_ne!(
        id(&text("true")),
        id(&text("true").replace("\"j\"", "\"k\""))
    );
}

#[test]
fn defaults_and_items_go_together() {
    let text = r#"{"queue": "q", "retries": 2, "retry_on_another_machine": true,
        "defaults": {"environment": {"A": "1", "B": "1"}, "secrets": ["abc"],
                     "limits": {"wall_timeout_seconds": 10, "kill_grace_seconds": 0.5},
                     "resources": {"slots": 2, "memory_bytes": 2000000}, "network": "none"},
        "items": [{"name": "a", "command": {"shell": "x"}},
                  {"name": "b", "command": {"argv": ["x"]}, "retries": 0, "retry_on_another_machine": false,
                   "environment": {"B": "2"}, "secrets": ["def"], "limits": {"wall_timeout_seconds": 20},
                   "resources": {"slots": 1}, "network": "machine", "output": "merged"}]}"#;
    let job = submission(&request(text), "me").unwrap();
    let [first, second] = job.items.as_slice() else {
        panic!("two items")
    };
    assert_eq!((first.retries, second.retries), (2, 0));
    assert_eq!(first.retry_place, RetryPlace::AnotherMachine);
    assert_eq!(second.retry_place, RetryPlace::Anywhere);
    let pairs = |item: &SubmittedItem| -> Vec<String> {
        let variables = item.template.environment.iter();
        variables
            .map(|one| format!("{}={}", one.name, one.value))
            .collect()
    };
    assert_eq!(pairs(first), ["A=1", "B=1"]);
    assert_eq!(pairs(second), ["A=1", "B=2"]);
    assert_eq!(second.template.secrets, ["abc", "def"]);
    let limits = second.template.limits.unwrap();
    assert_eq!(limits.wall_timeout.unwrap().seconds, 20);
    assert_eq!(limits.kill_grace.unwrap().nanos, 500_000_000);
    let resources = second.template.resources.unwrap();
    assert_eq!((resources.slots, resources.memory_bytes), (1, 2_000_000));
    assert_eq!(first.template.network, v1::Network::None as i32);
    assert_eq!(second.template.network, 0);
}

#[test]
fn references_are_kept_and_collected() {
    let upper = DIGEST.to_uppercase();
    let text = format!(
        r#"{{"queue": "q", "defaults": {{"payloads": [{{"url": "payload:{upper}", "destination": "bin"}}]}},
            "items": [{{"name": "a", "command": {{"shell": "x"}}}}, {{"name": "b", "command": {{"shell": "x"}}}}]}}"#
    );
    let job = submission(&request(&text), "me").unwrap();
    let payload = &job.items[1].template.payloads[0];
    assert_eq!(
        payload.source,
        Some(Source::Url(format!("payload:{DIGEST}")))
    );
    assert_eq!(payload.sha256.len(), 32);
    assert_eq!(references(&job), BTreeSet::from([DIGEST.to_owned()]));
    assert_eq!(object_key(&upper).as_ref(), format!("payloads/e3/{DIGEST}"));
}

#[test]
fn no_message_repeats_a_secret() {
    let text = r#"{"queue": "q", "defaults": {"secrets": ["hunter2\u0000"], "environment": {"A": "hunter2\u0000"}},
        "items": [{"name": "a", "command": {"argv": ["hunter2\u0000"]},
                   "payloads": [{"url": "https://u:hunter2@ h/x"}, {"url": "payload:hunter2"}]}]}"#;
    let failure = submission(&request(text), "me").unwrap_err();
    let shown = format!("{:?}", failure.problem());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(failure.problem().errors.len() >= 4, "{shown}");
}
