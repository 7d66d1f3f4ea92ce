//! What a person sees.

use helix_results::{Colour, Limits, Tally, TallyLimits, ViewOptions, write_view};

use crate::support::samples;

fn view_of(names: &[&str], limits: TallyLimits, options: &ViewOptions) -> String {
    let mut tally = Tally::new(limits);
    for (name, bytes) in samples()
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
    {
        tally
            .add_file(&mut bytes.as_slice(), name, &Limits::default(), &|| false)
            .expect("readable");
    }
    let _ = tally.add_file(
        &mut b"<html/>".as_slice(),
        "page.xml",
        &Limits::default(),
        &|| false,
    );
    let mut view = String::new();
    write_view(&tally, options, &mut view).expect("strings take text");
    view
}

#[test]
fn view_begins_with_failures_and_ends_with_counts() {
    let names = [
        "junit-surefire.xml",
        "junit-truncated-in-failure.xml",
        "libtest.json",
    ];
    insta::assert_snapshot!(view_of(
        &names,
        TallyLimits::default(),
        &ViewOptions::default()
    ));
}

#[test]
fn view_says_what_it_leaves_out() {
    let limits = TallyLimits {
        failures: 1,
        problems: 1,
        ..TallyLimits::default()
    };
    let options = ViewOptions {
        stack_lines: 1,
        colour: Colour::Always,
        ..ViewOptions::default()
    };
    let names = [
        "junit-surefire.xml",
        "junit-conflicts.xml",
        "junit-broken-markup.xml",
    ];
    insta::assert_snapshot!(view_of(&names, limits, &options));
}

#[test]
fn view_of_nothing_is_one_line() {
    let mut view = String::new();
    write_view(&Tally::default(), &ViewOptions::default(), &mut view).expect("strings take text");
    assert_eq!(view, "0 tests; 0 files; 0.000s in tests\n");
}

#[test]
fn nothing_in_a_view_steers_the_terminal_or_the_build_service() {
    let text = "<testsuite name='##[group]s'><testcase name='\u{1b}]0;title\u{7}##vso[task.complete]'>\
                <failure message='##vso[task.setvariable variable=PATH]x\u{202e}'>a\r##[error]b\n##vso[x]c</failure>\
                </testcase></testsuite>";
    let mut tally = Tally::default();
    tally
        .add_file(
            &mut text.as_bytes(),
            "##vso[a].xml",
            &Limits::default(),
            &|| false,
        )
        .expect("readable");
    let mut view = String::new();
    write_view(&tally, &ViewOptions::default(), &mut view).expect("strings take text");
    assert!(!view.contains("##vso[") && !view.contains("##["), "{view}");
    assert!(
        !view.contains(['\u{1b}', '\r', '\u{202e}', '\u{7}']),
        "{view}"
    );
}
