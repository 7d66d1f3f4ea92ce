//! From the body of a request to [`JobRequest`]: shapes and unknown fields, all that are wrong at once.
//!
//! Whether the values make sense is for the server to say, which asks the same rules as agents do.

use serde_json::value::RawValue;

use super::fields::{self, Fields, Problems};
use super::{ItemRequest, JobRequest, MAX_ITEMS, Settings};
use crate::FieldError;

impl JobRequest {
    /// Reads the body of a submission, or the file of a job list.
    ///
    /// ```
    /// use helix_api::submit::JobRequest;
    ///
    /// let body = br#"{"queue": 1, "items": [{"name": "a", "command": {"shell": 2}}], "nmae": ""}"#;
    /// let errors = JobRequest::read(body).unwrap_err();
    /// let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    /// assert_eq!(paths, ["$.queue", "$.items[0].command.shell", "$.nmae"]);
    /// ```
    ///
    /// # Errors
    ///
    /// Everything of which the shape is wrong, at most [`super::MAX_ERRORS`] fields, by their paths.
    /// No message repeats a value.
    pub fn read(body: &[u8]) -> Result<Self, Vec<FieldError>> {
        let mut problems = Problems::default();
        let job = match serde_json::from_slice::<&RawValue>(body) {
            Ok(raw) => read(&mut problems, raw),
            Err(error) => {
                // Nothing inside can be pointed at, so the place in the text has to do.
                problems.say("$", error);
                None
            }
        };
        let errors = problems.into_errors();
        match job {
            Some(job) if errors.is_empty() => Ok(job),
            Some(_) | None => Err(errors),
        }
    }
}

fn read(problems: &mut Problems, raw: &RawValue) -> Option<JobRequest> {
    let mut fields = Fields::new(problems, "$", raw)?;
    let mut job = JobRequest {
        queue: fields.require(problems, "queue"),
        name: fields.take(problems, "name"),
        id: fields.take(problems, "id"),
        source: fields.take(problems, "source"),
        priority: fields.take(problems, "priority"),
        properties: fields.take(problems, "properties"),
        retries: fields.take(problems, "retries"),
        retry_on_another_machine: fields.take(problems, "retry_on_another_machine"),
        defaults: Settings::default(),
        items: Vec::new(),
    };
    let path = fields.path_of("defaults");
    if let Some(raw) = fields.raw("defaults")
        && let Some(mut defaults) = Fields::new(problems, &path, raw)
    {
        job.defaults = settings(problems, &mut defaults);
        defaults.finish(problems);
    }
    let path = fields.path_of("items");
    match fields.raw("items") {
        Some(raw) => job.items = items(problems, &path, raw),
        None => problems.say(path, "it is missing"),
    }
    fields.finish(problems);
    Some(job)
}

fn items(problems: &mut Problems, path: &str, raw: &RawValue) -> Vec<ItemRequest> {
    let elements = fields::list(problems, path, raw, MAX_ITEMS);
    if elements.is_empty() {
        problems.say(path, "it needs at least one work item");
    }
    let mut items = Vec::with_capacity(elements.len());
    for (index, raw) in elements.into_iter().enumerate() {
        if problems.are_many() {
            break;
        }
        if let Some(mut fields) = Fields::new(problems, &format!("{path}[{index}]"), raw) {
            items.push(ItemRequest {
                name: fields.require(problems, "name"),
                command: fields.require(problems, "command"),
                retries: fields.take(problems, "retries"),
                retry_on_another_machine: fields.take(problems, "retry_on_another_machine"),
                settings: settings(problems, &mut fields),
            });
            fields.finish(problems);
        }
    }
    items
}

fn settings(problems: &mut Problems, fields: &mut Fields<'_>) -> Settings {
    Settings {
        environment: fields.take(problems, "environment"),
        secrets: fields.take(problems, "secrets"),
        payloads: fields.take(problems, "payloads"),
        correlation_payloads: fields.take(problems, "correlation_payloads"),
        limits: fields.take(problems, "limits"),
        resources: fields.take(problems, "resources"),
        requirements: fields.take(problems, "requirements"),
        artifact_globs: fields.take(problems, "artifact_globs"),
        network: fields.take(problems, "network"),
        output: fields.take(problems, "output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::{CommandRequest, MAX_ERRORS, Network, RequirementRequest};

    fn check(body: &str, expected: &[(&str, &str)]) {
        let errors = JobRequest::read(body.as_bytes()).expect_err("it is wrong");
        let found: Vec<_> = errors
            .iter()
            .map(|error| (error.path.as_str(), error.message.as_str()))
            .collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut job = JobRequest {
            queue: "linux".to_owned(),
            id: Some("j".to_owned()),
            retries: 2,
            ..JobRequest::default()
        };
        job.defaults.limits.wall_timeout_seconds = Some(1.5);
        job.items.push(ItemRequest {
            name: "a".to_owned(),
            command: CommandRequest {
                argv: Some(vec!["true".to_owned()]),
                shell: None,
            },
            retries: Some(0),
            settings: Settings {
                environment: [("A".to_owned(), "b".to_owned())].into(),
                network: Some(Network::None),
                requirements: vec![RequirementRequest {
                    name: "os".to_owned(),
                    range: "=linux".to_owned(),
                }],
                ..Settings::default()
            },
            ..ItemRequest::default()
        });
        let text = serde_json::to_vec(&job).unwrap();
        assert_eq!(JobRequest::read(&text), Ok(job));
    }

    #[test]
    fn every_wrong_field_is_named() {
        check(
            r#"{"queue": "q", "priority": "high", "properties": {"a b": 1},
                "defaults": {"limits": {"wall_timeout_seconds": "1"}, "enviroment": {}},
                "items": [{"name": "a", "command": {"shell": "x"}, "payloads": [{}, {"git": {"url": ""}}]},
                          7,
                          {"command": {"sh": "x"}, "network": "off", "network": "none"}]}"#,
            &[
                ("$.priority", "it should be a whole number"),
                ("$.properties['a b']", "it should be a string"),
                (
                    "$.defaults.limits.wall_timeout_seconds",
                    "it should be a number",
                ),
                ("$.defaults.enviroment", "nobody knows this field"),
                ("$.items[0].payloads[1].git", "missing field `commit`"),
                ("$.items[1]", "it should be an object"),
                ("$.items[2].network", "it is given twice"),
                ("$.items[2].name", "it is missing"),
                (
                    "$.items[2].command.sh",
                    "it has a field that nobody knows; known are `argv` or `shell`",
                ),
                ("$.items[2].network", "it should be `machine` or `none`"),
            ],
        );
    }

    #[test]
    fn no_value_is_repeated() {
        let body = r#"{"queue": "q", "defaults": {"secrets": "hunter2", "network": "hunter2",
            "environment": {"A": ["hunter2"]}}, "items": [{"name": "a", "command": "hunter2"}]}"#;
        let errors = JobRequest::read(body.as_bytes()).unwrap_err();
        assert_eq!(errors.len(), 4);
        for error in errors {
            assert!(!error.message.contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        check("", &[("$", "EOF while parsing a value at line 1 column 0")]);
        check("[]", &[("$", "it should be an object")]);
        check(
            r#"{"queue": "q", "items": []}"#,
            &[("$.items", "it needs at least one work item")],
        );
        check(
            r#"{"queue": "q", "items": null}"#,
            &[("$.items", "it is missing")],
        );
        let deep = "[".repeat(100_000);
        assert_eq!(JobRequest::read(deep.as_bytes()).unwrap_err().len(), 1);
        assert_eq!(JobRequest::read(b"\xff\xfe").unwrap_err().len(), 1);
    }

    #[test]
    fn a_flood_of_wrong_fields_is_cut_off() {
        let items = vec!["1"; 5000].join(",");
        let body = format!(r#"{{"queue": "q", "items": [{items}]}}"#);
        let errors = JobRequest::read(body.as_bytes()).unwrap_err();
        assert_eq!(errors.len(), MAX_ERRORS);
        let fields: Vec<String> = (0..10_000).map(|n| format!(r#""f{n}": 1"#)).collect();
        let body = format!("{{{}}}", fields.join(","));
        let errors = JobRequest::read(body.as_bytes()).unwrap_err();
        assert_eq!(errors[0].message, "it has too many fields");
    }

    #[test]
    fn too_many_items_are_counted() {
        let body = format!(
            r#"{{"queue": "q", "items": [{}]}}"#,
            vec![r#"{"name":"a","command":{"shell":"x"}}"#; MAX_ITEMS + 1].join(",")
        );
        check(
            &body,
            &[("$.items", "it has 100001 entries, the limit is 100000")],
        );
    }
}
