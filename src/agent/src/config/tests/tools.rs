//! `[labels]`, `[[probes]]`, `[[provisioners]]` and `[[requirement_files]]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use helix_model::capability::{CapabilityName, RequirementFile};

use super::{check, good, problems};

#[test]
fn labels_are_marks_or_texts() {
    let config = good("[labels]\nGPU = true\nrack = \"b7\"\ncores = 8\n\"g++\" = 12.2\n");
    let labels: Vec<_> = config
        .labels
        .iter()
        .map(|label| (label.name.as_str(), label.value.as_deref()))
        .collect();
    assert_eq!(
        labels,
        [
            ("gpu", None),
            ("cores", Some("8")),
            ("g++", Some("12.2")),
            ("rack", Some("b7"))
        ]
    );
    check(
        "[labels]\na = false\nb = []\nc = \"\"\n\"d e\" = true\n",
        &[
            "`labels.a` cannot be false",
            "`labels.b` must be a string or `true`, not a list",
            "`labels.c` must have 1 to 128 bytes of plain text",
            "`labels.d e` cannot be the name of a label: it has the character ' ' at position 2, which is not allowed there",
        ],
    );
}

const PROBE: &str = "[[probes]]\ncapability = \"tool\"\ncommand = [\"tool\", \"--version\"]\npattern = '^tool (\\S+)'\n";

#[test]
fn probes_are_read_with_their_defaults() {
    let config = good(&format!("{PROBE}[probes.environment]\nA = \"b\"\n"));
    let [probe] = &config.probes[..] else {
        panic!("{config:?}")
    };
    assert_eq!(probe.command.to_string(), "tool --version");
    assert_eq!(probe.time_limit, Duration::from_secs(30));
    assert_eq!(probe.environment.get("A"), Some("b"));
    assert_eq!(
        probe
            .pattern
            .as_ref()
            .map(|pattern| pattern.versions("tool 1.2").len()),
        Some(1)
    );
}

#[test]
fn problems_of_probes_are_told() {
    check(
        "[[probes]]\ncommand = \"tool --version\"\npattern = '\\d+'\ntime_limit = \"1h\"\n\
         [[probes]]\ncapability = \"a b\"\ncommand = []\npattern = '('\nenvironment = { \"A=B\" = \"c\" }\n",
        &[
            "`probes.capability` is missing",
            "`probes.command` must be a list of strings, not a string",
            "`probes.pattern` has no group in parentheses around the version",
            "`probes.time_limit` must be from \"1s\" to \"10m\", not \"1h\"",
            "`probes.capability` cannot be `a b`: it has the character ' ' at position 2, which is not allowed there",
            "`probes.command` is wrong: a command needs a program to run",
            "`probes.pattern` is no regular expression: unclosed group",
            "`probes.environment.A=B` cannot be set: `A=B` cannot be the name of a variable",
        ],
    );
}

#[test]
fn environment_of_a_probe_is_in_no_report() {
    let text = format!("{PROBE}environment = {{ TOKEN = \"hunter2\", \"A=B\" = \"hunter3\" }}\n");
    let report = problems(&text).to_string();
    assert!(
        report.contains("`probes.environment.A=B` cannot be set"),
        "{report}"
    );
    assert!(!report.contains("hunter"), "{report}");
}

#[test]
fn provisioners_are_read_with_their_defaults() {
    let config = good(&format!(
        "state_directory = \"/s\"\n{PROBE}[[provisioners]]\nname = \"p\"\ncapability = \"tool\"\ncommand = [\"get\", \"{{version}}\"]\ncool_down = \"5h\"\n"
    ));
    let [provisioner] = &config.provisioners[..] else {
        panic!("{config:?}")
    };
    assert!(provisioner.command.wants_version());
    assert_eq!(provisioner.log_directory, Path::new("/s/provisioning"));
    assert_eq!(provisioner.min_free_disk, None);
    assert_eq!(
        provisioner.policy.first_cool_down,
        Duration::from_secs(5 * 3600)
    );
    assert_eq!(
        provisioner.policy.max_cool_down,
        Duration::from_secs(5 * 3600)
    );
}

#[test]
fn problems_of_provisioners_are_told() {
    let provisioner =
        "[[provisioners]]\nname = \"p\"\ncapability = \"tool\"\ncommand = [\"get\"]\n";
    check(
        &format!(
            "{PROBE}{provisioner}{provisioner}\
             versions = [\"1.0\", \"-rf\"]\ndefault_version = \"2.0\"\nmax_cool_down = \"1s\"\n\
             [[provisioners]]\nname = \"../x\"\ncapability = \"other\"\ncommand = [\"{{version}}\"]\n"
        ),
        &[
            "`provisioners.name` `p` is the name of an earlier one",
            "`provisioners.versions` cannot be `-rf`: at position 1 a version should start, with a digit or with `v` and a digit, not with '-'",
            "`provisioners.max_cool_down` is less than `cool_down`",
            "`provisioners.name` cannot be used: a provisioner's name has 1 to 64 letters, digits, `.`, `_` or `-` and starts with a letter or digit",
            "`provisioners.capability` `other` has no probe that could see it arrive",
            "`provisioners.command` is wrong: the program must not depend on the version; only arguments may have `{version}`",
        ],
    );
    check(
        &format!("{PROBE}{provisioner}versions = [\"1.0\"]\ndefault_version = \"2.0\"\n"),
        &["`provisioners.default_version` `2.0` is none of its `versions`"],
    );
    // A probe with a mistake is still a probe.
    let text = format!("{}\n{provisioner}", PROBE.replace("(\\S+)", "("));
    check(
        &text,
        &["`probes.pattern` is no regular expression: unclosed group"],
    );
}

#[test]
fn requirement_files_extend_replace_and_turn_off_what_is_built_in() {
    let config = good(
        "[labels]\nxcode = \"16.1\"\nruby = \"3.3\"\n\
         [[requirement_files]]\npath = \"./eng//sdk.txt\"\nkind = \"version\"\ncapability = \"dotnet-sdk\"\n\
         [[requirement_files]]\npath = \".ruby-version\"\nkind = \"ignore\"\n\
         [[requirement_files]]\npath = \".tool-versions\"\nkind = \"tool-versions\"\ntools = { a = \"b\" }\n",
    );
    let rules = config.requirement_files.rules();
    let paths: Vec<&str> = rules.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(paths, ["eng/sdk.txt", ".tool-versions", ".xcode-version"]);
    let capabilities =
        BTreeMap::from([("a".to_owned(), CapabilityName::new("b").expect("a name"))]);
    assert_eq!(
        rules[1].kind,
        RequirementFile::ToolVersions { capabilities }
    );
}

#[test]
fn problems_of_requirement_files_are_told() {
    check(
        "[[requirement_files]]\npath = \"../x\"\nkind = \"version\"\n\
         [[requirement_files]]\npath = \".\"\nkind = \"yaml\"\ncapability = \"a\"\n\
         [[requirement_files]]\npath = \"x\"\nkind = \"tool-versions\"\ntools = { a = 1 }\ncapability = \"a\"\n\
         [[requirement_files]]\npath = \"x\"\nkind = \"ignore\"\n",
        &[
            "`requirement_files.capability` is missing",
            "`requirement_files.path` cannot be used: the path has a `..` component, it must stay below its root",
            "`requirement_files.path` must name a file",
            "`requirement_files.kind` cannot be `yaml`",
            "`requirement_files.tools` must name capabilities with strings",
            "unknown key `requirement_files.capability`",
            "`requirement_files.path` `x` has a rule already",
        ],
    );
}
