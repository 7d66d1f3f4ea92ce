//! Writes JUnit XML.
//!
//! The format has no place for parts of a test, its method, attachments that are no file (and of files for more than
//! the path), the message of a test that passed, attempts that did not fail, a test said to be flaky without its attempts, or what the record
//! was made of; these are left out. An unknown outcome becomes an error of the type `unknown outcome`, a time-out a
//! failure of the type `test timeout`. A failure without message gets the first line of its stack for one when it
//! is read again, and characters that XML 1.0 forbids become visible escapes. Totals are left out too: they would
//! have to stand before what they count, and readers count for themselves.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AttachmentBody, Attempt, Evidence, Outcome, TestCase, TestRun};
use crate::sink::Sink;
use crate::time::iso;
use crate::write::output::Output;
use crate::write::xml_text::{AttributeText, ElementText};

/// Writes each case as it comes. Call [`JUnitWriter::finish`] at the end, or the document has none.
#[derive(Debug)]
pub struct JUnitWriter<W: io::Write> {
    output: Output<W>,
    suite: Option<Arc<str>>,
}

impl<W: io::Write> JUnitWriter<W> {
    /// Begins a document.
    pub fn new(inner: W) -> Self {
        let mut output = Output::new(inner);
        output.put(format_args!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
        ));
        Self {
            output,
            suite: None,
        }
    }

    /// Ends the document and gives back what it was written to.
    ///
    /// # Errors
    ///
    /// The first error of any write since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        self.close_suite();
        self.output.put(format_args!("</testsuites>\n"));
        self.output.finish()
    }

    fn close_suite(&mut self) {
        if self.suite.take().is_some() {
            self.output.put(format_args!("  </testsuite>\n"));
        }
    }

    fn open_suite(&mut self, suite: &Arc<str>) {
        if self.suite.as_ref() != Some(suite) {
            self.close_suite();
            self.output.put(format_args!(
                "  <testsuite name=\"{}\">\n",
                AttributeText(suite)
            ));
            self.suite = Some(suite.clone());
        }
    }

    fn case_start(&mut self, case: &TestCase) {
        self.output.put(format_args!(
            "    <testcase name=\"{}\"",
            AttributeText(&case.name)
        ));
        if !case.class.is_empty() {
            self.attribute("classname", &case.class);
        }
        self.timing(case.duration);
        if let Some(started) = case.started {
            self.attribute("timestamp", &iso(started));
        }
        if let Some(location) = &case.location {
            self.attribute("file", &location.file);
            if let Some(line) = location.line {
                self.output.put(format_args!(" line=\"{line}\""));
            }
        }
        match case.outcome {
            Outcome::NotRun => self.attribute("status", "disabled"),
            Outcome::Inconclusive => self.attribute("status", "inconclusive"),
            _ => {}
        }
        self.output.put(format_args!(">\n"));
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.output
            .put(format_args!(" {name}=\"{}\"", AttributeText(value)));
    }

    fn timing(&mut self, duration: Option<Duration>) {
        if let Some(duration) = duration {
            self.output.put(format_args!(
                " time=\"{}.{:09}\"",
                duration.as_secs(),
                duration.subsec_nanos()
            ));
        }
    }

    fn properties(&mut self, case: &TestCase) {
        let paths = case
            .attachments
            .iter()
            .filter_map(|attachment| match &attachment.body {
                AttachmentBody::Path(path) => Some(path),
                AttachmentBody::Text(_)
                | AttachmentBody::Base64(_)
                | AttachmentBody::TooLarge { .. } => None,
            });
        let traits = case
            .traits
            .iter()
            .map(|entry| (entry.name.as_str(), entry.value.as_str()));
        let mut entries = traits
            .chain(paths.map(|path| ("attachment", path.as_str())))
            .peekable();
        if entries.peek().is_none() {
            return;
        }
        self.output.put(format_args!("      <properties>\n"));
        for (name, value) in entries {
            self.output.put(format_args!(
                "        <property name=\"{}\" value=\"{}\"/>\n",
                AttributeText(name),
                AttributeText(value)
            ));
        }
        self.output.put(format_args!("      </properties>\n"));
    }

    fn verdict(&mut self, case: &TestCase) {
        let evidence = &case.evidence;
        match case.outcome {
            Outcome::Passed => {}
            Outcome::Failed => self.signal("failure", &evidence.kind, evidence),
            Outcome::Errored => self.signal("error", &evidence.kind, evidence),
            Outcome::TimedOut => self.signal("failure", "test timeout", evidence),
            Outcome::Unknown => self.signal("error", "unknown outcome", evidence),
            Outcome::Skipped | Outcome::NotRun | Outcome::Inconclusive => {
                self.signal("skipped", &evidence.kind, evidence);
            }
        }
    }

    fn signal(&mut self, element: &str, kind: &str, evidence: &Evidence) {
        self.output.put(format_args!("      <{element}"));
        if !evidence.message.is_empty() {
            self.attribute("message", evidence.message.as_str());
        }
        if !kind.is_empty() {
            self.attribute("type", kind);
        }
        self.output.put(format_args!(
            ">{}</{element}>\n",
            ElementText(evidence.stack.as_str())
        ));
    }

    fn attempt(&mut self, element: &str, attempt: &Attempt) {
        let evidence = &attempt.evidence;
        let kind = match attempt.outcome {
            Outcome::TimedOut => "test timeout",
            Outcome::Unknown => "unknown outcome",
            _ => &evidence.kind,
        };
        self.output.put(format_args!("      <{element}"));
        self.attribute("message", evidence.message.as_str());
        self.attribute("type", kind);
        self.timing(attempt.duration);
        if let Some(started) = attempt.started {
            self.attribute("timestamp", &iso(started));
        }
        self.output.put(format_args!(
            "><stackTrace>{}</stackTrace>",
            ElementText(evidence.stack.as_str())
        ));
        // Any white space between would become its text.
        self.streams(evidence, "");
        self.output.put(format_args!("</{element}>\n"));
    }

    fn streams(&mut self, evidence: &Evidence, end: &str) {
        for (element, text) in [
            ("system-out", &evidence.stdout),
            ("system-err", &evidence.stderr),
        ] {
            if !text.is_empty() {
                self.output.put(format_args!(
                    "<{element}>{}</{element}>{end}",
                    ElementText(text.as_str())
                ));
            }
        }
    }
}

impl<W: io::Write> Sink for JUnitWriter<W> {
    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.open_suite(&case.suite);
        self.case_start(case);
        self.properties(case);
        self.verdict(case);
        let failed = |attempt: &&Attempt| attempt.outcome.is_failure();
        for attempt in case.attempts.iter().filter(failed) {
            let element = match (case.outcome, attempt.outcome) {
                (Outcome::Passed, Outcome::Errored | Outcome::Unknown) => "flakyError",
                (Outcome::Passed, _) => "flakyFailure",
                (_, Outcome::Errored | Outcome::Unknown) => "rerunError",
                (_, _) => "rerunFailure",
            };
            self.attempt(element, attempt);
        }
        self.streams(&case.evidence, "\n");
        self.output.put(format_args!("    </testcase>\n"));
        self.output.flow()
    }

    fn run_finished(&mut self, _: &TestRun) {
        self.close_suite();
    }
}
