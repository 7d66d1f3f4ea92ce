//! Tables, keys and what is said of those that are none.

use super::{Kettle, Tea, check, good, parse, problems};

#[test]
fn empty_text_is_the_default() {
    assert_eq!(good(""), Kettle::default());
    assert_eq!(good("# nothing\r\n\n"), Kettle::default());
    assert_eq!(good("\u{feff}cups = 2\n").cups, 2);
}

#[test]
fn sections_may_be_written_in_any_way_that_toml_allows() {
    for text in [
        "[[teas]]\nname = \"oolong\"\ngrams = 7\n[panel]\naddress = \"[::1]:7\"\n",
        "teas = [{ name = \"oolong\", grams = 7 }]\npanel = { address = \"[::1]:7\" }\n",
        "panel.address = '[::1]:7'\nteas = [{ \"name\" = \"\"\"oolong\"\"\", grams = 0x7 }]\n",
    ] {
        let kettle = good(text);
        let name = "oolong".to_owned();
        assert_eq!(kettle.teas, [Tea { name, grams: 7 }]);
        assert_eq!(kettle.panel.port(), 7);
    }
}

#[test]
fn wrong_shape_of_a_section_is_told_with_the_right_one() {
    let text = "http = 7\nteas = { name = \"x\" }\n";
    check(
        text,
        &[
            "`http` must be a table, not a whole number",
            "`teas` must be a list of tables, not a table",
        ],
    );
    let report = problems(text).to_string();
    assert!(report.contains("hint: write `[http]` on a line of its own"));
    assert!(report.contains("hint: write `[[teas]]` on a line of its own"));
    check(
        "teas = [1, { name = \"x\", grams = 1 }, \"y\"]\n",
        &[
            "`teas` must be a list of tables, not a whole number",
            "`teas` must be a list of tables, not a string",
        ],
    );
}

#[test]
fn what_is_missing_is_told_of_its_table() {
    let report = problems("[[teas]]\nname = \"x\"\n[[teas]]\ngrams = 2\n").to_string();
    assert!(
        report.starts_with("kettle.toml:1:1: `teas.grams` is missing\n"),
        "{report}"
    );
    assert!(
        report.contains("\nkettle.toml:3:1: `teas.name` is missing\n"),
        "{report}"
    );
    // At the top there is no place to show.
    let missing = crate::read("a = 1\n", "c", |root| {
        root.require("b", crate::value::text);
        root.get("a", crate::value::whole(1..=1));
    });
    let report = missing.expect_err("it is missing").to_string();
    assert_eq!(report, "c: `b` is missing\n\nc: 1 problem");
}

#[test]
fn unknown_key_is_told_with_the_nearest_or_all() {
    let hint = |text: &str| {
        let report = problems(text).to_string();
        let hint = report
            .lines()
            .find_map(|line| line.strip_prefix("  hint: "));
        hint.expect("there is a hint").to_owned()
    };
    assert_eq!(hint("cup = 1"), "did you mean `cups`?");
    assert_eq!(hint("CUPS = 1"), "did you mean `cups`?");
    assert_eq!(hint("is-on = true"), "did you mean `is_on`?");
    assert_eq!(hint("patiense = 1"), "did you mean `patience`?");
    assert_eq!(
        hint("[http]\nport = 1"),
        "there are `address`, `insecure_without_tls`, `tls`"
    );
    // One that is long is not compared.
    const LONG: &str = "when_nobody_looks_it_boils_and_when_somebody_looks_it_never_boils_at_all";
    let slip = format!("{}s = 1", LONG);
    let long = crate::read(&slip, "c", |root| root.has(LONG));
    let report = long.expect_err("it is a slip").to_string();
    assert!(
        report.contains(&format!("hint: there are `{LONG}`")),
        "{report}"
    );
    let nothing = crate::read("a = 1", "c", |_| ()).expect_err("there is no key");
    assert!(nothing.to_string().contains("hint: there are no keys here"));
    check(
        "[http.tls]\nchain = 1\n[[teas]]\nname = \"x\"\ngrams = 1\nGrams = 2\n",
        &[
            "`http.tls.certificate` is missing",
            "`http.tls.key` is missing",
            "unknown key `http.tls.chain`",
            "unknown key `teas.Grams`",
        ],
    );
}

#[test]
fn mistakes_of_syntax_do_not_hide_the_others() {
    let problems =
        problems("cups = \nname = [1]\nxname = \"x\n[http]\naddress = 5\n[[teas]]\nname = \"x\"\n");
    let text = problems.to_string();
    for place in [
        "kettle.toml:1:",
        "kettle.toml:2:8: `name`",
        "kettle.toml:3:",
        "kettle.toml:5:11: `http.address`",
    ] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(
        !text.contains("unknown key `xname`"),
        "the line is broken anyway: {text}"
    );
    assert!(
        !text.contains("is missing"),
        "it may be in what is broken: {text}"
    );
}

#[test]
fn text_that_is_nested_without_end_is_a_problem() {
    let depth = 100_000;
    for text in [
        format!("cups = {}", "[".repeat(depth)),
        format!("cups = {}1{}", "[".repeat(depth), "]".repeat(depth)),
        format!("cups = {}", "{ a = ".repeat(depth)),
        format!("{}a = 1\n", "a.".repeat(depth)),
        format!("[{}a]\n", "a.".repeat(depth)),
        format!("[[{}a]]\n", "a.".repeat(depth)),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..20]);
    }
}

#[test]
fn tables_within_tables_without_end_are_a_problem() {
    // Each header is short enough, and they cannot be put together.
    let mut text = String::new();
    let mut header = String::from("http");
    for _ in 0..70 {
        header.push_str(".a");
        text.push_str(&format!("[[{header}]]\n"));
    }
    text.push_str(&format!("b = {}1{}\n", "[".repeat(70), "]".repeat(70)));
    assert!(parse(&text).is_err());
}
