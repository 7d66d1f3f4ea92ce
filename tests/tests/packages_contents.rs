//! What the packages hold, and that the same tree makes the same bytes. Needs no service manager.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use helix_tests::packages::{self, ALL};
use helix_tests::programs::program;
use helix_tests::tools::skipped;
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Whether the machine has what makes packages, else says that the calling test is skipped.
fn has(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\" >/dev/null", tool])
            .status();
        !found.expect("a shell").success()
    });
    if let Some(tool) = missing {
        skipped(&format!("there is no `{tool}`"));
    }
    missing.is_none()
}

const BUILDERS: &[&str] = &["dpkg-deb", "dpkg-shlibdeps", "rpmbuild", "strip", "git"];

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All files of a directory, by name.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .expect("readable")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").display().to_string();
            (name, fs::read(path).expect("readable"))
        })
        .collect()
}

/// What a Debian package installs: paths and contents of its files.
fn unpacked(name: &str) -> (TempDir, PathBuf) {
    let packages = packages::current();
    let directory = TempDir::new().expect("a directory");
    let tree = directory.path().join("tree");
    let unpack = Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(packages.directory().join(packages.deb(name)))
        .arg(&tree)
        .output()
        .expect("dpkg-deb");
    good(&unpack);
    (directory, tree)
}

#[test]
fn same_tree_makes_the_same_bytes() {
    if !has(BUILDERS) {
        return;
    }
    let outputs = [(); 2].map(|()| TempDir::new().expect("a directory"));
    let formats = ["deb", "rpm", "tar", "--quick"];
    packages::build(&formats, outputs[0].path());
    // Another time, place, language, time zone, mask and order of the programs' files.
    let elsewhere = TempDir::with_prefix("elsewhere-").expect("a directory");
    let build = packages::command(&formats, outputs[1].path())
        .env("TMPDIR", elsewhere.path())
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", elsewhere.path())
        .current_dir("/")
        .output()
        .expect("the script starts");
    good(&build);
    let [first, second] = outputs.each_ref().map(|output| files(output.path()));
    assert_eq!(first.len(), 2 * ALL.len() + 1, "{:?}", first.keys());
    let different: Vec<_> = first
        .iter()
        .filter(|(name, bytes)| second.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(different, Vec::<&String>::new());
    assert_eq!(first.len(), second.len());
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 0);
}

#[test]
fn lintian_and_rpmlint_have_nothing_to_say() {
    if !has(BUILDERS) || !has(&["lintian", "rpmlint"]) {
        return;
    }
    let packages = packages::current();
    for name in ALL {
        let lintian = Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning,info"])
            .arg(packages.directory().join(packages.deb(name)))
            .output()
            .expect("lintian");
        let said = good(&lintian);
        assert_eq!(said, "", "{name}");
        let rpmlint = Command::new("rpmlint")
            .arg("--config")
            .arg(root().join("packaging/rpm/rpmlint.toml"))
            .arg(packages.directory().join(packages.rpm(name)))
            .output()
            .expect("rpmlint");
        let said = good(&rpmlint);
        assert!(said.contains("0 errors, 0 warnings"), "{name}: {said}");
    }
}

#[test]
fn packages_hold_pages_and_completions_of_every_program() {
    if !has(BUILDERS) {
        return;
    }
    for (package, programs, section) in [
        ("helix-agent", &["helix-agent", "helix-launcher"][..], "8"),
        ("helix-controller", &["helix-controller"], "8"),
        ("helix-cli", &["helix"], "1"),
    ] {
        let (_directory, tree) = unpacked(package);
        for program in programs {
            let page = tree.join(format!("usr/share/man/man{section}/{program}.{section}.gz"));
            assert!(page.exists(), "{}", page.display());
        }
        let program = programs[0];
        for (path, checker) in [
            (
                format!("usr/share/bash-completion/completions/{program}"),
                &["bash", "-n"][..],
            ),
            (
                format!("usr/share/zsh/vendor-completions/_{program}"),
                &["zsh", "-n"],
            ),
            (
                format!("usr/share/fish/vendor_completions.d/{program}.fish"),
                &["fish", "-n"],
            ),
        ] {
            let path = tree.join(path);
            assert!(path.exists(), "{}", path.display());
            if has(&checker[..1]) {
                let mut check = Command::new(checker[0]);
                check.args(&checker[1..]).arg(&path);
                good(&check.output().expect("a shell"));
            }
        }
        // Pages are found where others point at them.
        if has(&["man"]) {
            for entry in
                fs::read_dir(tree.join(format!("usr/share/man/man{section}"))).expect("pages")
            {
                let page = entry.expect("readable").path();
                let man = Command::new("man")
                    .args(["--local-file", "--warnings", "-E", "UTF-8"])
                    .arg(&page)
                    .env("MANROFFSEQ", "")
                    .output()
                    .expect("man");
                let shown = good(&man);
                let complaints = String::from_utf8_lossy(&man.stderr);
                assert_eq!(complaints, "", "{}", page.display());
                assert!(shown.contains("NAME"), "{}", page.display());
            }
        }
    }
    let (_directory, tree) = unpacked("helix-agent");
    assert!(
        tree.join("usr/share/man/man5/helix-agent.toml.5.gz")
            .exists()
    );
}

#[test]
fn controllers_example_is_valid_and_means_what_an_empty_file_means() {
    let example = root().join("packaging/controller.toml");
    let text = fs::read_to_string(&example).expect("a text");
    let directory = TempDir::new().expect("a directory");
    // Without the sign of a comment, each key that can be used as it is.
    let bare: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let uncommented = directory.path().join("controller.toml");
    fs::write(&uncommented, bare).expect("written");
    for path in [&example, &uncommented] {
        let validate = Command::new(program("helix-controller"))
            .args(["validate", "--config"])
            .arg(path)
            .output()
            .expect("the controller");
        good(&validate);
    }
    // Nothing in it is in force before somebody wants it so.
    assert!(
        text.lines()
            .all(|line| line.is_empty() || line.starts_with('#'))
    );
}

#[test]
fn configuration_in_the_package_is_the_example_with_the_launcher() {
    if !has(BUILDERS) {
        return;
    }
    let (_directory, tree) = unpacked("helix-agent");
    let installed = fs::read_to_string(tree.join("etc/helix/agent.toml")).expect("a text");
    let example = fs::read_to_string(root().join("packaging/agent.toml")).expect("a text");
    let changed: Vec<_> = example
        .lines()
        .zip(installed.lines())
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after)
        .collect();
    let expected = ["[launcher]", "socket = \"/run/helix/launcher.sock\""];
    assert_eq!(changed, expected);
    assert_eq!(example.lines().count(), installed.lines().count());
    let validate = Command::new(program("helix-agent"))
        .args(["validate", "--config"])
        .arg(tree.join("etc/helix/agent.toml"))
        .output()
        .expect("the agent");
    good(&validate);
}

/// The page is by hand: the launcher's command line is too small for a crate. So this holds both
/// together.
#[test]
fn page_of_the_launcher_says_what_its_help_says() {
    let help = Command::new(program("helix-launcher"))
        .arg("--help")
        .output()
        .expect("the launcher");
    let help = good(&help);
    let page = fs::read_to_string(root().join("packaging/man/helix-launcher.8")).expect("a page");
    let plain = page.replace("\\-", "-").replace("\\(dq", "\"");
    let mut options: Vec<&str> = help
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--"))
        .collect();
    options.sort_unstable();
    options.dedup();
    assert!(options.len() >= 6, "{options:?}");
    for option in &options {
        assert!(plain.contains(option), "the page lacks {option}");
    }
    let documented = plain
        .lines()
        .filter_map(|line| {
            let word = line
                .strip_prefix(".BI ")
                .or_else(|| line.strip_prefix(".B "))?;
            word.starts_with("--").then(|| word.split(' ').next())?
        })
        .collect::<Vec<_>>();
    for option in documented {
        assert!(options.contains(&option), "the help lacks {option}");
    }
    // Exit codes, in the same words.
    let (_, codes) = help.split_once("Exit codes: ").expect("exit codes");
    for code in codes.trim().trim_end_matches('.').split(", ") {
        let (number, words) = code.split_once(' ').expect("a number and words");
        let words = words.replace("FILE", "\n.I FILE\n");
        let words = words.replace(" \n", "\n").replace("\n ", "\n");
        let expected = format!(".B {number}\n{words}");
        assert!(plain.contains(&expected), "the page lacks: {expected}");
    }
    // And every key of the example configuration is explained.
    let example = fs::read_to_string(root().join("packaging/launcher.json")).expect("an example");
    let example: serde_json::Value = serde_json::from_str(&example).expect("JSON");
    for key in example.as_object().expect("an object").keys() {
        assert!(plain.contains(key.as_str()), "the page lacks {key}");
    }
}

#[test]
fn users_of_the_launcher_are_those_that_the_package_makes_and_removes() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a text");
    let launcher: serde_json::Value =
        serde_json::from_str(&read("packaging/launcher.json")).expect("JSON");
    let mut users = vec![launcher["client"].as_str().expect("a name").to_owned()];
    for user in launcher["users"]["pool"]["named"]
        .as_array()
        .expect("names")
    {
        users.push(user.as_str().expect("a name").to_owned());
    }
    assert!(users.len() > 2, "{users:?}");
    let made = read("systemd/sysusers.d/helix-agent.conf");
    let made: Vec<_> = made
        .lines()
        .filter_map(|line| line.strip_prefix("u ")?.split_whitespace().next())
        .collect();
    assert_eq!(made, users);
    let removed = format!("for user in {}; do", users.join(" "));
    assert!(read("packaging/deb/helix-agent/postrm").contains(&removed));
}

#[test]
fn wrong_arguments_make_no_packages() {
    if !has(BUILDERS) {
        return;
    }
    let output = TempDir::new().expect("a directory");
    for arguments in [
        &["pkg"][..],
        &["deb", "--version"],
        &["deb", "--version", "1.0; true"],
        &["deb", "--programs", "/nonexistent"],
    ] {
        let build = Command::new(root().join("packaging/build"))
            .args(["--output".as_ref(), output.path().as_os_str()])
            .args(arguments)
            .output()
            .expect("the script starts");
        assert!(!build.status.success(), "{arguments:?}: {build:?}");
        assert!(!build.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(output.path()).expect("readable").count(), 0);
}

#[test]
fn scripts_are_as_shellcheck_wants_them() {
    if !has(&["shellcheck"]) {
        return;
    }
    let mut scripts = Vec::new();
    let mut folders = vec![root().join("packaging")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).expect("readable").starts_with(b"#!") {
                scripts.push(path);
            }
        }
    }
    assert!(scripts.len() > 10, "{scripts:?}");
    let check = Command::new("shellcheck")
        .args(["--severity", "warning"])
        .args(&scripts)
        .output()
        .expect("shellcheck");
    good(&check);
}
