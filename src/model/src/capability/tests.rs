//! Tests of capabilities, requirements and the files that they are read from.

use proptest::prelude::*;

use super::*;
use crate::testing::{capabilities, parsed, requirements};

fn name(text: &str) -> CapabilityName {
    parsed(text)
}

#[test]
fn names_are_lower_case_and_narrow() {
    assert_eq!(name("DotNet-SDK").as_str(), "dotnet-sdk");
    assert_eq!(name("g++"), name("G++"));
    assert_eq!(CapabilityName::new(""), Err(CapabilityError::Empty));
    for bad in ["-x", ".x", "a b", "a=b", "é", "a/b", "a\0"] {
        assert!(CapabilityName::new(bad).is_err(), "{bad:?}");
    }
    assert!(CapabilityName::new(&"a".repeat(129)).is_err());
}

#[test]
fn requirement_is_a_name_and_what_is_wanted_of_it() {
    let check = |text: &str, capability: &str, wanted: Wanted| {
        let requirement: Requirement = parsed(text);
        assert_eq!(
            requirement,
            Requirement {
                name: name(capability),
                wanted
            },
            "{text:?}"
        );
    };
    let range = |text: &str| Wanted::Range(parsed(text));
    let text = |text: &str| Wanted::Text(text.to_owned());
    check("gpu", "gpu", Wanted::Present);
    check(" GPU ", "gpu", Wanted::Present);
    check("xcode 16.1", "xcode", range("16.1"));
    check("xcode >=16, <17", "xcode", range(">=16, <17"));
    check("xcode>=16", "xcode", range(">=16"));
    check("xcode=16.1", "xcode", range("=16.1"));
    check("xcode *", "xcode", range("*"));
    check("os=linux", "os", text("linux"));
    check("os = Alpine Linux", "os", text("Alpine Linux"));
    check("os linux", "os", text("linux"));
    check("device 2xlarge", "device", range("2xlarge"));
}

#[test]
fn requirement_from_two_parts_is_the_same_as_from_one() {
    let check = |name: &str, wanted: &str, whole: &str| {
        let parts = Requirement::parse(name, wanted).expect("good");
        assert_eq!(parts, parsed(whole), "{name:?} {wanted:?}");
    };
    check("gpu", "", "gpu");
    check("os", "linux", "os=linux");
    check("os", "=linux", "os=linux");
    check("xcode", "16.1", "xcode 16.1");
    check("xcode", " >=16 <17 ", "xcode >=16, <17");
}

#[test]
fn range_with_a_slip_does_not_pass_for_a_text() {
    for bad in [
        "xcode >=x",
        "xcode 16..1",
        "xcode linux || macos",
        "xcode lin*",
        "os=",
        "",
        "=1",
        "os=a\nb",
    ] {
        assert!(bad.parse::<Requirement>().is_err(), "{bad:?}");
    }
    let error = "xcode >=16..1"
        .parse::<Requirement>()
        .expect_err("a slip")
        .to_string();
    assert!(error.contains("nothing at position 6"), "{error}");
}

#[test]
fn requirement_is_met_by_what_it_names() {
    let check = |has: &[&str], wants: &str, met: bool| {
        let missing = capabilities(has).missing(&requirements(&[wants]));
        assert_eq!(missing.is_empty(), met, "{has:?} {wants}");
    };
    check(&["gpu"], "gpu", true);
    check(&["gpu"], "GPU", true);
    check(&[], "gpu", false);
    check(&["gpu"], "gpu 12", false);
    check(&["gpu"], "gpu=nvidia", false);
    check(&["xcode@15.4,16.1"], "xcode", true);
    check(&["xcode@15.4,16.1"], "xcode 16.1", true);
    check(&["xcode@15.4,16.1"], "xcode >=16.2", false);
    check(&["os=Linux"], "os=linux", true);
    check(&["os=linux"], "os linux", true);
    check(&["os=linux"], "os=macos", false);
    check(&["os=linux"], "os", true);
    // A label that happens to be a version.
    check(&["ubuntu=24.04"], "ubuntu >=22.04", true);
    check(&["ubuntu=24.04"], "ubuntu=24.04", true);
    check(&["ubuntu=noble"], "ubuntu >=22.04", false);
    check(&["xcode@16.1"], "xcode=stable", false);
    // Several values of one label.
    check(&["device=a", "device=b"], "device=b", true);
}

#[test]
fn what_is_missing_says_what_is_wanted_and_what_is_there() {
    let has = capabilities(&["xcode@15.4,16.0", "os=linux"]);
    let mut missing = has.missing(&requirements(&["os=linux", "xcode 16.1", "gpu"]));
    assert_eq!(missing.len(), 2);
    missing[0].asked_by = Some(".xcode-version".to_owned());
    assert_eq!(
        missing[0].to_string(),
        "`xcode 16.1` for `.xcode-version` (it has 15.4, 16.0)"
    );
    assert_eq!(missing[1].to_string(), "`gpu` (it has none)");
    assert_eq!(missing[0].requirement(), parsed("xcode 16.1"));
}

#[test]
fn what_is_learned_of_a_capability_adds_up() {
    let set = capabilities(&["a", "a@1", "a@2", "b=x", "b@3", "c@1", "c"]);
    let text = |capability: &str| set.get(&name(capability)).map(ToString::to_string);
    assert_eq!(text("a").as_deref(), Some("1, 2"));
    assert_eq!(text("b").as_deref(), Some("3, x"));
    assert_eq!(text("c").as_deref(), Some("1"));
    assert!(set.missing(&requirements(&["b 3", "b=x"])).is_empty());
    let mut set = set;
    assert!(set.remove(&name("a")).is_some());
    assert_eq!(set.iter().count(), 2);
}

fn check_file(file: &RequirementFile, text: &str, expected: Result<&[&str], &str>) {
    let found = file.read(text).map_err(|error| error.to_string());
    let expected = expected.map(requirements).map_err(ToOwned::to_owned);
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn version_files_hold_versions_and_comments() {
    let file = RequirementFile::Version {
        capability: name("tool"),
    };
    let check = |text: &str, expected| check_file(&file, text, expected);
    check("16.1\n", Ok(&["tool 16.1"]));
    check("\u{feff}v20.11.1\r\n", Ok(&["tool v20.11.1"]));
    check("# pinned\n3.12.1 # for now\n\n", Ok(&["tool 3.12.1"]));
    check("3.12.1\n3.11\n", Ok(&["tool 3.12.1 || 3.11"]));
    check("lts/iron", Ok(&["tool *"]));
    check("system", Ok(&["tool *"]));
    check("", Ok(&[]));
    check("# nothing\n", Ok(&[]));
    check(">=3.9", Ok(&["tool >=3.9"]));
    check("pypy3.9-7.3.11", Ok(&["tool=pypy3.9-7.3.11"]));
    check(
        "3.12\n\n3..11",
        Err(
            "line 3: `3..11` is no version: the version has nothing at position 3, where a number or a word is due",
        ),
    );
    check(
        "3.12 my-env",
        Err("line 1: `my-env` is no version, and stands beside versions"),
    );
    check(
        "$(id)",
        Err("line 1: `$(id)` is no version: the version has the character '$' at position 1"),
    );
}

#[test]
fn tool_versions_speak_of_the_tools_that_are_mapped() {
    let capabilities = [("python", "python"), ("nodejs", "node"), ("java", "java")];
    let capabilities = capabilities.map(|(tool, capability)| (tool.to_owned(), name(capability)));
    let file = RequirementFile::ToolVersions {
        capabilities: capabilities.into(),
    };
    let check = |text: &str, expected| check_file(&file, text, expected);
    check(
        "python 3.12.1\nnodejs 20.11.1\n",
        Ok(&["python 3.12.1", "node 20.11.1"]),
    );
    check(
        "python 3.12.1 3.11.9 # two\n",
        Ok(&["python 3.12.1 || 3.11.9"]),
    );
    check("python 3.12.1 system", Ok(&["python 3.12.1 || *"]));
    check("python latest:3.12", Ok(&["python 3.12"]));
    check("python prefix:3", Ok(&["python 3"]));
    check("python latest", Ok(&["python *"]));
    check("python ref:1a2b3c", Ok(&[]));
    check("python path:~/src/python", Ok(&[]));
    check("python 3.12 ref:1a2b3c", Ok(&[]));
    check(
        "java temurin-21.0.2+13.0.LTS",
        Ok(&["java=temurin-21.0.2+13.0.LTS"]),
    );
    check("terraform 1.7.0\n# python 2\n", Ok(&[]));
    check("terraform ???\n", Ok(&[]));
    check("\npython", Err("line 2: the tool has no version"));
    check("\npython # 3", Err("line 2: the tool has no version"));
}

fn check_global_json(text: &str, expected: Result<&[&str], &str>) {
    let file = RequirementFile::GlobalJson {
        capability: name("dotnet-sdk"),
    };
    check_file(&file, text, expected);
}

#[test]
fn global_json_rolls_forward_as_the_sdk_does() {
    let check = |version: &str, policy: &str, inside: &[&str], outside: &[&str]| {
        let text = format!(r#"{{"sdk": {{"version": "{version}", "rollForward": "{policy}"}}}}"#);
        let file = RequirementFile::GlobalJson {
            capability: name("sdk"),
        };
        let found = file.read(&text).expect("good");
        let Some(Requirement {
            wanted: Wanted::Range(range),
            ..
        }) = found.first()
        else {
            panic!("no range in {found:?}");
        };
        for version in inside {
            assert!(
                range.contains(&parsed(version)),
                "{version} should do for {text}"
            );
        }
        for version in outside {
            assert!(
                !range.contains(&parsed(version)),
                "{version} should not do for {text}"
            );
        }
    };
    for policy in ["patch", "latestPatch"] {
        check(
            "9.0.203",
            policy,
            &["9.0.203", "9.0.299"],
            &["9.0.202", "9.0.300", "9.1.203"],
        );
    }
    for policy in ["feature", "latestFeature"] {
        check(
            "9.0.203",
            policy,
            &["9.0.203", "9.0.300"],
            &["9.0.202", "9.1.100"],
        );
    }
    for policy in ["minor", "latestMinor", "LatestMinor"] {
        check(
            "9.0.203",
            policy,
            &["9.0.203", "9.1.100"],
            &["9.0.202", "10.0.100"],
        );
    }
    for policy in ["major", "latestMajor"] {
        check(
            "9.0.203",
            policy,
            &["9.0.203", "10.0.100"],
            &["9.0.202", "8.0.400"],
        );
    }
    check("9.0.203", "disable", &["9.0.203"], &["9.0.204", "9.0.202"]);
    let (rc, later) = ("9.0.100-rc.1.24452.12", "9.0.100-rc.2.24474.11");
    check(
        rc,
        "latestPatch",
        &[rc, later, "9.0.100", "9.0.103"],
        &["9.0.100-preview.7", "9.0.200-preview.1"],
    );
    check(rc, "disable", &[rc], &[later, "9.0.100"]);
    check(
        "9.0.203",
        "latestPatch",
        &["9.0.204-preview.1"],
        &["9.0.203-preview.1", "9.0.300-preview.1"],
    );
    check("9.0.203", "latestMajor", &["10.0.100-preview.1"], &[]);
}

#[test]
fn global_json_can_refuse_pre_releases() {
    let check = |text: &str, expected: &[&str]| {
        let text = format!("{{\"sdk\": {{\"allowPrerelease\": false, {text}}}}}");
        check_global_json(&text, Ok(expected));
    };
    check(
        r#""version": "9.0.203""#,
        &["dotnet-sdk >=9.0.203, <9.0.300"],
    );
    check(
        r#""version": "9.0.203", "rollForward": "major""#,
        &["dotnet-sdk >=9.0.203"],
    );
    check(r#""rollForward": "major""#, &["dotnet-sdk >=0"]);
    check("", &[]);
}

#[test]
fn global_json_is_found_whatever_stands_around_it() {
    check_global_json(
        r#"{"sdk":{"version":"9.0.203"}}"#,
        Ok(&["dotnet-sdk >=9.0.203, <9.0.300, *"]),
    );
    check_global_json(r#"{"sdk":{"version":"9.0"}}"#, Ok(&["dotnet-sdk 9.0"]));
    check_global_json(
        r#"{"sdk":{"rollForward":"latestMajor"}}"#,
        Ok(&["dotnet-sdk *"]),
    );
    check_global_json(r#"{"sdk":{"allowPrerelease":false}}"#, Ok(&[]));
    check_global_json("{}", Ok(&[]));
    check_global_json(r#"{"sdk": null, "sdks": {"version": "1.2.3"}}"#, Ok(&[]));
    let text = r#"// Pinned by the bot.
{
  /* tools */ "tools": { "dotnet": "9.0.100", "runtimes": { "x": ["a", 1.5e3, [true, null,],], }, },
  "msbuild-sdks": { "sdk": { "version": "1.0.0" } },
  "\u0073dk": {
    "paths": [".dotnet", "$host$"], "version": "9.0.\u0031\u00301", // here
    "rollForward": "latestFeature",
  },
}
"#;
    let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    check_global_json(&text, Ok(&["dotnet-sdk >=9.0.101, 9.0, *"]));
}

#[test]
fn global_json_that_cannot_be_read_says_where() {
    let check = |text: &str, expected| check_global_json(text, Err(expected));
    check("", "line 1: an object should start here");
    check("[]", "line 1: an object should start here");
    check("{\n\"a\" 1}", "line 2: a `:` should be here");
    check("{\"a\": }", "line 1: a value should be here");
    check("{\"a\": 1 \"b\": 2}", "line 1: a `,` or `}` should be here");
    check("{\"a\": [1 2]}", "line 1: a `,` or `]` should be here");
    check(
        "{\"a\": \"\n\"}",
        "line 2: the text has no closing quotation mark",
    );
    check("{\"a", "line 1: the text has no closing quotation mark");
    check("{/* ", "line 1: the comment has no end");
    check("{\"a\": \"\\x\"}", "line 1: there is no such escape");
    check(
        "{\"a\": \"\\ud800\"}",
        "line 1: half of a surrogate pair is missing",
    );
    check(
        "{\"a\": \"\\u12\"}",
        "line 1: four hexadecimal digits are due",
    );
    check("{} x", "line 1: something follows the end of the object");
    check(
        r#"{"sdk":{"version":9}}"#,
        "line 1: `sdk.version` is not a text",
    );
    check(
        r#"{"sdk":{"version":"9.0.1\ud83d\ude00"}}"#,
        "line 1: `sdk.version` \"9.0.1😀\" is no version: \
         the version has the character '😀' at position 6",
    );
    check(
        r#"{"sdk":{"allowPrerelease":"yes"}}"#,
        "line 1: `sdk.allowPrerelease` is neither true nor false",
    );
    check(
        "{\"sdk\":{\n\"version\":\"nine\"}}",
        "line 2: `sdk.version` \"nine\" is no version: at position 1 a version should start, with a digit or with `v` and a digit, not with 'n'",
    );
    check(
        r#"{"sdk":{"version":"9.0.1xx"}}"#,
        "line 1: `sdk.version` \"9.0.1xx\" is not made of three numbers",
    );
    check(
        r#"{"sdk":{"version":"9.0.100","rollForward":"up"}}"#,
        "line 1: `sdk.rollForward` has the unknown value \"up\"",
    );
    check(
        &format!("{{\"a\":{}", "[".repeat(60_000)),
        "line 1: values are nested too deep",
    );
    check(
        &"{\"a\":".repeat(10_000),
        "line 1: values are nested too deep",
    );
    let long = " ".repeat(MAX_REQUIREMENT_FILE_BYTES + 1);
    check(
        &long,
        "line 1: the file has 65537 bytes, the limit is 65536",
    );
}

fn any_requirement() -> impl Strategy<Value = Requirement> {
    let wanted = prop_oneof![
        Just(String::new()),
        "[<>]=?[0-9]\\.[0-9]",
        "[0-9]{1,2}(\\.[0-9]){0,2}",
        "=[a-z][a-z ]{0,6}[a-z]",
    ];
    ("[a-z][a-z0-9-]{0,6}", wanted)
        .prop_map(|(name, wanted)| Requirement::parse(&name, &wanted).expect("good parts"))
}

proptest! {
    #[test]
    fn requirement_round_trips(requirement in any_requirement()) {
        prop_assert_eq!(parsed::<Requirement>(&requirement.to_string()), requirement);
    }

    #[test]
    fn any_text_is_a_requirement_or_refused(text in ".{0,24}|[a-z=<>*. 0-9]{0,24}") {
        if let Ok(requirement) = text.parse::<Requirement>() {
            prop_assert_eq!(parsed::<Requirement>(&requirement.to_string()), requirement);
        }
    }

    #[test]
    fn more_capabilities_never_miss_more(
        has in prop::collection::vec("[ab](@[12]|=[xy]|)", 0..4),
        more in "[ab](@[12]|=[xy]|)",
        wants in prop::collection::vec("[ab]( [12]|=[xy]|)", 0..4),
    ) {
        let texts: Vec<&str> = has.iter().map(String::as_str).collect();
        let wants: Vec<&str> = wants.iter().map(String::as_str).collect();
        let wants = requirements(&wants);
        let before = capabilities(&texts).missing(&wants).len();
        let after = capabilities(&[texts, vec![more.as_str()]].concat()).missing(&wants).len();
        prop_assert!(after <= before);
    }

    #[test]
    fn any_file_is_read_or_refused(
        text in "(.|\n){0,80}|([{}\\[\\]\",:sdkverion0-9./*\\\\ \n]|\"sdk\":|\"version\":){0,60}",
    ) {
        let tool = || name("tool");
        let _ = RequirementFile::Version { capability: tool() }.read(&text);
        let _ = RequirementFile::GlobalJson { capability: tool() }.read(&text);
        let capabilities = text.split_whitespace().map(|word| (word.to_owned(), tool())).collect();
        let _ = RequirementFile::ToolVersions { capabilities }.read(&text);
    }
}
