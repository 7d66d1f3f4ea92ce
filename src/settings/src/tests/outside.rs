//! What comes from outside the file: secrets, certificates, and the word that does without.

use super::{WORD, check_with, good, parse_with, problems_with};
use crate::GivenSources;

fn sources() -> GivenSources {
    let certificate = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let key = "words before\r\n-----BEGIN EC PRIVATE KEY-----\r\n";
    GivenSources::default()
        .with_variable("KEY", "hush")
        .with_file("/cert", certificate, 0o644)
        .with_file("/key", key, 0o640)
        .with_file("/open", key, 0o644)
        .with_file("/secret", "hush\r\n\n", 0o640)
        .with_file("/empty", "\n", 0o600)
}

#[test]
fn secrets_come_from_variables_and_closed_files() {
    let text = "[options]\nregion = \"eu\"\nplain = true\na = { env = \"KEY\" }\nb = { file = \"/secret\" }\n";
    let kettle = parse_with(text, &sources()).unwrap_or_else(|problems| panic!("{problems}"));
    let options: Vec<(&str, &str)> = kettle
        .options
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("a", "hush"),
        ("b", "hush"),
        ("plain", "true"),
        ("region", "eu"),
    ];
    assert_eq!(options, expected);
}

#[test]
fn options_name_what_they_lack() {
    let text = "[options]\n\
        a = { env = \"UNSET\" }\n\
        b = { file = \"/open\" }\n\
        c = { file = \"/empty\" }\n\
        d = { file = \"/absent\" }\n\
        e = { vault = \"x\" }\n\
        f = { env = \"A\", file = \"/b\" }\n\
        g = [1]\n\
        h = { file = \"secret\" }\n\
        i = { env = 1 }\n\
        j = {}\n\
        region = 1.5\n";
    check_with(
        text,
        &sources(),
        &[
            "`options.a` needs the environment variable `UNSET`, which is not set",
            "`options.b` is in the file `/open`, which everybody can read",
            "`options.c` is in the file `/empty`, which is empty",
            "`options.d` needs the file `/absent`: entity not found",
            "`options.e` cannot come from `vault`",
            "`options.f` must name one place to take the value from",
            "`options.g` must be a string or a truth value, not a list",
            "`options.h` needs a file with an absolute path, not `secret`",
            "`options.i` must name its place with a string",
            "`options.j` must name one place to take the value from",
            "`options.region` must be a string or a truth value, not a number with decimals",
        ],
    );
}

#[test]
fn secret_in_the_file_is_refused_and_not_repeated() {
    for value in [
        "\"hush\"",
        "[\"hush\"]",
        "\"\"\"\nhush\n\"\"\"",
        "{ value = \"hush\" }",
        "{ env = \"KEY\", value = \"hush\" }",
        "{ env = [\"hush\"] }",
    ] {
        let text = format!("options = {{ key = {value} }}\n");
        let problems = problems_with(&text, &sources());
        assert_eq!(problems.problems().len(), 1, "{problems}");
        assert!(!problems.to_string().contains("hush"), "{problems}");
        assert!(!format!("{problems:?}").contains("hush"), "{problems:?}");
    }
    let text = "[options]\nkey = \"hush\"\nregion = 5\n";
    let report = problems_with(text, &sources()).to_string();
    assert!(
        report.contains("2 | key = ******\n    |       ^^^^^^\n"),
        "{report}"
    );
    assert!(report.contains("3 | region = 5\n"), "{report}");
}

#[test]
fn concealed_table_is_in_no_report_of_what_stands_beside_it() {
    let walk = |root: &crate::Section<'_>| {
        let section = root.section("environment").expect("it is there");
        section.conceal();
    };
    let text = "environment = { TOKEN = \"hush\", A = 1 }, \nenvironment.b = \"x\"\nodd = 1\n";
    let report = crate::read(text, "c", walk).expect_err("it is wrong");
    let report = report.to_string();
    assert!(
        report.contains("environment = { TOKEN = ******, A = * }"),
        "{report}"
    );
    assert!(report.contains("3 | odd = 1"), "{report}");
}

#[test]
fn tls_needs_files_in_good_order() {
    let tls = |certificate: &str, key: &str| {
        format!("[http.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    let kettle = parse_with(&tls("/cert", "/key"), &sources()).expect("they are there");
    assert_eq!(kettle.key.as_deref(), Some("/key".as_ref()));
    let check = |certificate, key, expected: [&str; 2]| {
        check_with(&tls(certificate, key), &sources(), &expected);
    };
    check(
        "/key",
        "/open",
        [
            "`http.tls.certificate` is in `/key`, which has no `CERTIFICATE` in it",
            "`http.tls.key` is the file `/open`, which everybody can read",
        ],
    );
    check(
        "/absent",
        "key",
        [
            "`http.tls.certificate` cannot be read from `/absent`: entity not found",
            "`http.tls.key` must be an absolute path, not `key`",
        ],
    );
    check_with(
        "[http.tls]\ncertificate = \"/cert\"\n",
        &sources(),
        &["`http.tls.key` is missing"],
    );
}

#[test]
fn word_is_written_out_and_not_beside_tls() {
    let word = format!("[http]\ninsecure_without_tls = \"{WORD}\"\n");
    good(&word);
    for wrong in ["true", "\"yes\""] {
        check_with(
            &format!("[http]\ninsecure_without_tls = {wrong}\n"),
            &sources(),
            &[
                "`http.insecure_without_tls` takes only the one word that cannot be written by mistake",
            ],
        );
    }
    check_with(
        &format!("{word}[http.tls]\ncertificate = \"/cert\"\nkey = \"/key\"\n"),
        &sources(),
        &["`http.insecure_without_tls` and `http.tls` contradict each other"],
    );
}
