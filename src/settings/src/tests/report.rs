//! The report as a whole, and that there is one for any text.

use std::path::Path;

use proptest::prelude::*;

use super::{Kettle, parse, problems, walk};
use crate::{ConfigProblems, GivenSources, ProcessSources, load};

/// A text with every key in force.
const EVERY_KEY: &str = r#"
name = "Whistler"
cups = 4
offset = -3
patience = "1m 30s"
water = "1.5 KiB"
is_on = true
bought = 2027-03-31
directory = "/srv//kettle/"
mode = "fast"
colours = ["red", "blue"]

[http]
address = "[::1]:2000"
insecure_without_tls = "i-understand-that-anyone-can-boil-water"

[panel]
address = "127.0.0.1:0"

[options]
region = "eu"
key = { env = "KEY" } # of the cupboard

[[teas]]
name = "größe"
grams = 7
"#;

fn sources() -> GivenSources {
    GivenSources::default().with_variable("KEY", "hush")
}

fn parse_all(text: &str) -> Result<Kettle, ConfigProblems> {
    super::parse_with(text, &sources())
}

#[test]
fn every_key_is_read() {
    let kettle = parse_all(EVERY_KEY).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(kettle.name.as_deref(), Some("Whistler"));
    assert_eq!((kettle.cups, kettle.offset), (4, -3));
    assert_eq!(kettle.patience.as_secs(), 90);
    assert_eq!(kettle.water_bytes, 1536);
    assert_eq!(kettle.directory, Path::new("/srv/kettle"));
    let options = [("key", "hush"), ("region", "eu")];
    assert_eq!(
        kettle.options,
        options.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn every_problem_is_told_at_once_with_place_and_hint() {
    let report = problems(
        "cups = 0\n\
         cup = 2\n\
         name = 7\n\
         \n\
         [http]\n\
         address = \"localhost:80\"\n",
    )
    .to_string();
    assert_eq!(
        report,
        "\
kettle.toml:1:8: `cups` must be from 1 to 12, not 0
  1 | cups = 0
    |        ^

kettle.toml:2:1: unknown key `cup`
  2 | cup = 2
    | ^^^
  hint: did you mean `cups`?

kettle.toml:3:8: `name` must be a string, not a whole number
  3 | name = 7
    |        ^

kettle.toml:6:11: `http.address` must be an IP address and a port, not `localhost:80`
  6 | address = \"localhost:80\"
    |           ^^^^^^^^^^^^^^
  hint: names are not looked up; write `127.0.0.1:80` or `[::1]:80`

kettle.toml: 4 problems",
    );
}

#[test]
fn file_is_read_and_called_by_its_path() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("kettle.toml");
    let read = || load(&path, &ProcessSources, |root| walk(root, &ProcessSources));
    std::fs::write(&path, "cups = 3\n").expect("it can be written");
    assert_eq!(read().expect("it is right").cups, 3);
    std::fs::write(&path, "cups = 13\n").expect("it can be written");
    let report = read().expect_err("it is wrong").to_string();
    let place = format!("{}:1:8: `cups`", path.display());
    assert!(report.starts_with(&place), "{report}");
}

#[test]
fn file_that_cannot_be_read_is_a_problem_with_a_hint() {
    let path = Path::new("/nonexistent/kettle.toml");
    let problems = load(path, &ProcessSources, |_| ()).expect_err("it is not there");
    let text = problems.to_string();
    assert!(
        text.starts_with("/nonexistent/kettle.toml: the configuration cannot be read: "),
        "{text}"
    );
    assert!(text.contains("\n  hint: "), "{text}");
    assert!(
        text.ends_with("\n/nonexistent/kettle.toml: 1 problem"),
        "{text}"
    );
}

/// Checks that there is a problem at least, and that each has a place that the text has.
fn check_places(text: &str, problems: &ConfigProblems) -> Result<(), TestCaseError> {
    prop_assert!(!problems.problems().is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    let report = problems.to_string();
    for place in report
        .lines()
        .filter_map(|line| line.strip_prefix("kettle.toml:"))
    {
        let mut parts = place.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        // The last line counts the problems, and what is wrong with the file has no place.
        let (Some(line), Some(column)) = (number(), number()) else {
            continue;
        };
        prop_assert!((1..=lines.len()).contains(&line), "{report}");
        // The end of a line is a place, and so is that of the text.
        let length = lines[line - 1].chars().count();
        prop_assert!((1..=length + 1).contains(&column), "{report}");
    }
    for problem in problems.problems() {
        if let Some(span) = problem.span() {
            prop_assert!(span.start <= span.end && span.end <= text.len(), "{report}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_with_places(text in "\\PC{0,300}|[a-z\\[\\]{}=\"'#.,0-9 \\n\\r\\t\\x00]{0,200}") {
        if let Err(problems) = parse(&text) {
            check_places(&text, &problems)?;
        }
    }

    // Whatever is done to a good text, it is taken or refused with places.
    #[test]
    fn any_damaged_text_is_taken_or_refused_with_places(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, "[\\[\\]{}=\"'#.,a-z0-9ü \\n]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = EVERY_KEY.chars().collect();
        for (index, length, insert) in cuts {
            let start = index.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = parse_all(&text) {
            check_places(&text, &problems)?;
        }
    }

    // A secret that stands in the file is nowhere in the report, whatever else is wrong.
    #[test]
    fn secret_is_in_no_report(
        secret in "[a-z]{12,20}",
        before in "[a-z\\[\\]{}=\"#., \\n]{0,20}",
        after in "[a-z\\[\\]{}=\"#., \\n]{0,20}",
    ) {
        let good = format!("{before}\n[options]\nkey = \"{secret}\"\n{after}");
        for text in [good, format!("{before}\noptions = {{ key = {{ value = \"{secret}\" }} }}\n{after}")] {
            // Where the line itself is no key with a value, it cannot be known for a secret.
            let is_read = toml::de::DeTable::parse(&text).is_ok();
            if let (true, Err(problems)) = (is_read, parse(&text)) {
                prop_assert!(!problems.to_string().contains(&secret), "{problems}");
                prop_assert!(!format!("{problems:?}").contains(&secret), "{problems:?}");
            }
        }
    }
}
