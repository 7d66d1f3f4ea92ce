//! `[artifacts]`.

use helix_settings::GivenSources;

use super::{check, check_with, example, good, problems};

#[test]
fn artifact_secrets_come_from_outside_and_are_never_repeated() {
    let config = example();
    assert_eq!(
        config.artifacts.options.names().collect::<Vec<_>>(),
        ["account_key", "account_name", "sas_token"],
    );
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("c2VjcmV0") && !shown.contains("sig=abc"),
        "{shown}"
    );

    let text = "[artifacts]\nurl = \"az://c\"\n[artifacts.options]\naccount_name = \"a\"\naccount_key = \"hunter2\"\n";
    check(
        text,
        &[
            "`artifacts.options.account_key` may be a secret and must not stand in the configuration",
        ],
    );
    let problems = problems(text);
    assert!(!problems.problems()[0].message().contains("hunter2"));
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
}

#[test]
fn artifact_options_name_what_they_lack() {
    let sources = GivenSources::default()
        .with_file("/public", "secret", 0o644)
        .with_file("/empty", "\n", 0o600);
    let text = "[artifacts]\nurl = \"s3://b\"\n[artifacts.options]\n\
        a = { env = \"UNSET\" }\n\
        b = { file = \"/public\" }\n\
        c = { file = \"/empty\" }\n\
        d = { file = \"/absent\" }\n\
        e = { vault = \"x\" }\n\
        f = { env = \"A\", file = \"/b\" }\n\
        g = [1]\n";
    check_with(
        text,
        &sources,
        &[
            "`artifacts.options.a` needs the environment variable `UNSET`, which is not set",
            "`artifacts.options.b` is in the file `/public`, which everybody can read",
            "`artifacts.options.c` is in the file `/empty`, which is empty",
            "`artifacts.options.d` needs the file `/absent`: entity not found",
            "`artifacts.options.e` cannot come from `vault`",
            "`artifacts.options.f` must name one place to take the value from",
            "`artifacts.options.g` must be a string or a truth value, not a list",
        ],
    );
}

#[test]
fn artifact_store_is_checked_without_touching_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let folder = directory.path().join("made-by-nobody");
    good(&format!(
        "[artifacts]\nurl = \"file://{}\"\n",
        folder.display()
    ));
    assert!(!folder.exists());
    for url in [
        "",
        "artifacts",
        "file://relative/x",
        "ftp://host/x",
        "az://",
        "https://user:word@host/",
    ] {
        let problems = problems(&format!("[artifacts]\nurl = \"{url}\"\n"));
        assert_eq!(problems.problems().len(), 1, "{url}: {problems}");
        assert!(
            !problems.problems()[0].message().contains("word"),
            "{problems}"
        );
        assert!(!problems.to_string().contains("word"), "{problems}");
    }
    check(
        "[artifacts.options]\nregion = \"eu\"\n",
        &["`artifacts.options` are for a store, and there is no `artifacts.url`"],
    );
}
