//! Single values: their types, their bounds, and what is said of those that are wrong.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Mode, check, good, problems};

#[test]
fn text_has_a_length_and_no_control_characters() {
    assert_eq!(
        good("name = \"sixteen letters!\"").name.map(|it| it.len()),
        Some(16)
    );
    check("name = \"\"", &["`name` must not be empty"]);
    for name in ["seventeen letters", "a\\nb", "a\\u0000"] {
        check(
            &format!("name = \"{name}\""),
            &["`name` must have 1 to 16 bytes of plain text"],
        );
    }
    check(
        "name = true",
        &["`name` must be a string, not a truth value"],
    );
}

#[test]
fn numbers_have_bounds_and_may_be_written_in_any_base() {
    assert_eq!(good("cups = 0x0_c").cups, 12);
    assert_eq!(good("cups = 0b11").cups, 3);
    assert_eq!(good("cups = +7").cups, 7);
    assert_eq!(good("offset = -9223372036854775808").offset, i64::MIN);
    for cups in [
        "-1",
        "0",
        "13",
        "0xff",
        "99999999999999999999999999999999999999999999",
    ] {
        check(
            &format!("cups = {cups}"),
            &[&format!("`cups` must be from 1 to 12, not {cups}")],
        );
    }
    check(
        "offset = 9223372036854775808",
        &[
            "`offset` must be from -9223372036854775808 to 9223372036854775807, not 9223372036854775808",
        ],
    );
    check(
        "cups = 1.5\nteas = [{ name = \"x\", grams = inf }]\n",
        &[
            "`cups` must be a whole number, not a number with decimals",
            "`teas.grams` must be a whole number, not a number with decimals",
        ],
    );
}

#[test]
fn sizes_and_times_need_units_and_have_bounds() {
    assert_eq!(
        good("patience = \"1h\"").patience,
        Duration::from_secs(3600)
    );
    assert_eq!(good("water = \"1 KiB\"").water_bytes, 1024);
    for (text, message) in [
        (
            "patience = 5",
            "`patience` must be a length of time, not a whole number",
        ),
        ("patience = \"soon\"", "`patience` cannot be `soon`"),
        (
            "patience = \"61m\"",
            "`patience` must be from \"1s\" to \"1h\", not \"61m\"",
        ),
        (
            "water = 64",
            "`water` must be an amount of bytes, not a whole number",
        ),
        ("water = \"much\"", "`water` cannot be `much`"),
        (
            "water = \"1 kB\"",
            "`water` must be at least \"1 KiB\", not \"1 kB\"",
        ),
    ] {
        check(text, &[message]);
    }
    let hint = "hint: write a number and a unit (ms, s, m, h, d), such as \"90s\" or \"1h 30m\"";
    assert!(problems("patience = \"soon\"").to_string().contains(hint));
}

#[test]
fn truth_is_one_of_two() {
    assert!(good("is_on = true").is_on);
    for text in ["\"true\"", "1"] {
        let problems = problems(&format!("is_on = {text}"));
        let message = problems.problems()[0].message();
        assert!(
            message.starts_with("`is_on` must be `true` or `false`, not a"),
            "{message}"
        );
    }
}

#[test]
fn day_is_a_date_without_a_time() {
    let day = Duration::from_secs(24 * 60 * 60);
    let bought = good("bought = 2026-11-21").bought;
    assert_eq!(bought, Some(SystemTime::UNIX_EPOCH + 20_778 * day));
    let farthest = good("bought = 9999-12-31").bought;
    assert_eq!(farthest, Some(SystemTime::UNIX_EPOCH + 2_932_896 * day));
    for text in [
        "1969-12-31",
        "0000-01-01",
        "2026-11-21T10:00:00",
        "10:00:00",
    ] {
        check(
            &format!("bought = {text}"),
            &["`bought` must be a day from 1970 on"],
        );
    }
    check(
        "bought = \"2026-11-21\"",
        &["`bought` must be a day, not a string"],
    );
}

#[test]
fn path_is_absolute_and_goes_nowhere_else() {
    assert_eq!(
        good("directory = \"//a/./b//\"").directory,
        Path::new("/a/b")
    );
    check(
        "directory = \"a\"",
        &["`directory` must be an absolute path, not `a`"],
    );
    check(
        "directory = \"/a/../b\"",
        &["`directory` must not have `..` in it, as `/a/../b` has"],
    );
    check(
        "directory = \"/a\\u0000\"",
        &["`directory` has a NUL character"],
    );
    check("directory = \"\"", &["`directory` must not be empty"]);
}

#[test]
fn words_are_some_and_told_if_another_is_there() {
    let kettle = good("mode = \"fast\"\ncolours = [\"red\", \"blue\", \"red\"]\n");
    assert_eq!(kettle.mode, Mode::Fast);
    assert_eq!(kettle.colours, [Mode::Fast, Mode::Slow, Mode::Fast]);
    let text = "mode = \"rash\"\ncolours = [\"red\", \"green\"]\n";
    check(
        text,
        &[
            "`mode` cannot be `rash`",
            "`colours` cannot have `green`, which is no colour",
        ],
    );
    let report = problems(text).to_string();
    assert!(
        report.contains("hint: there are `slow` and `fast`"),
        "{report}"
    );
    assert!(report.contains("hint: there are `blue`, `red`"), "{report}");
    // The element, not the list.
    assert!(report.contains("kettle.toml:2:19: "), "{report}");
    check(
        "colours = \"red\"",
        &["`colours` must be a list, not a string"],
    );
}

#[test]
fn addresses_are_no_names_and_do_not_clash() {
    check(
        "[http]\naddress = \"localhost\"\n",
        &["`http.address` must be an IP address and a port, not `localhost`"],
    );
    let report = problems("[http]\naddress = \"localhost\"\n").to_string();
    assert!(
        report.contains("hint: such as `127.0.0.1:1000` or `[::]:1000`"),
        "{report}"
    );
    let both = |http: &str, panel: &str| {
        format!("[http]\naddress = \"{http}\"\n[panel]\naddress = \"{panel}\"\n")
    };
    for (http, panel) in [
        ("10.0.0.1:7", "10.0.0.1:7"),
        ("0.0.0.0:7", "10.0.0.1:7"),
        ("10.0.0.1:7", "[::]:7"),
    ] {
        let message = format!("`http.address` `{http}` and `panel.address` `{panel}` are the same");
        check(&both(http, panel), &[&message]);
    }
    for (http, panel) in [
        ("10.0.0.1:7", "10.0.0.2:7"),
        ("0.0.0.0:7", "0.0.0.0:8"),
        ("[::]:0", "[::]:0"),
    ] {
        good(&both(http, panel));
    }
    // The table that is there is shown.
    let report = problems("[http]\naddress = \"127.0.0.1:1001\"\n").to_string();
    assert!(report.starts_with("kettle.toml:1:1: "), "{report}");
}
