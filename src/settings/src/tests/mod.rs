//! How a file is read, seen through the keys of a kettle: by theme, and here what the themes share.

mod outside;
mod report;
mod shape;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::address::{self, Listener};
use crate::insecure::Consent;
use crate::value::{self, whole};
use crate::{ConfigProblems, GivenSources, Problem, Section, Sources, pem, read, secret};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What has to be written to do without TLS.
const WORD: &str = "i-understand-that-anyone-can-boil-water";

/// Something with keys of every type.
#[derive(Debug, Clone, PartialEq)]
struct Kettle {
    name: Option<String>,
    cups: u32,
    offset: i64,
    patience: Duration,
    water_bytes: u64,
    is_on: bool,
    bought: Option<SystemTime>,
    directory: PathBuf,
    mode: Mode,
    colours: Vec<Mode>,
    teas: Vec<Tea>,
    listen: SocketAddr,
    panel: SocketAddr,
    key: Option<PathBuf>,
    options: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Slow,
    Fast,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tea {
    name: String,
    grams: u8,
}

impl Default for Kettle {
    fn default() -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            name: None,
            cups: 1,
            offset: 0,
            patience: Duration::from_secs(60),
            water_bytes: 1024,
            is_on: false,
            bought: None,
            directory: PathBuf::from("/kettle"),
            mode: Mode::Slow,
            colours: Vec::new(),
            teas: Vec::new(),
            listen: at(1000),
            panel: at(1001),
            key: None,
            options: Vec::new(),
        }
    }
}

fn walk(root: &Section<'_>, sources: &dyn Sources) -> Kettle {
    let mut kettle = Kettle::default();
    root.set_some("name", &mut kettle.name, value::plain_text(16));
    root.set("cups", &mut kettle.cups, whole(1..=12));
    root.set("offset", &mut kettle.offset, whole(i64::MIN..=i64::MAX));
    let bounds = value::duration(SECOND..=HOUR);
    root.set("patience", &mut kettle.patience, bounds);
    root.set("water", &mut kettle.water_bytes, value::size(1024));
    root.set("is_on", &mut kettle.is_on, value::truth);
    root.set_some("bought", &mut kettle.bought, value::day);
    root.set("directory", &mut kettle.directory, value::path);
    let modes = [("slow", Mode::Slow), ("fast", Mode::Fast)];
    root.set("mode", &mut kettle.mode, value::one_of(&modes));
    let colour = value::named("colour", &[Mode::Slow, Mode::Fast], |mode| match mode {
        Mode::Slow => "blue",
        Mode::Fast => "red",
    });
    root.set("colours", &mut kettle.colours, value::list(colour));
    for section in root.sections("teas") {
        let name = section.require("name", value::parsed::<String>);
        let grams = section.require("grams", whole(1..=u8::MAX));
        section.finish();
        let tea = name.zip(grams).map(|(name, grams)| Tea { name, grams });
        kettle.teas.extend(tea);
    }
    if let Some(section) = root.section("http") {
        http(&section, &mut kettle, sources);
    }
    if let Some(section) = root.section("panel") {
        section.set("address", &mut kettle.panel, address::socket(1001));
        section.finish();
    }
    let listener = |table, address| Listener {
        table,
        key: "address",
        address,
    };
    let panel = listener("panel", kettle.panel);
    address::check_apart(root, listener("http", kettle.listen), panel);
    if let Some(section) = root.section("options") {
        for entry in section.entries() {
            let read = secret::option(&entry, &["region"], sources);
            let value = section.heed(entry.name(), entry.item().span(), read);
            kettle
                .options
                .extend(value.map(|value| (entry.name().to_owned(), value)));
        }
    }
    kettle
}

fn http(section: &Section<'_>, kettle: &mut Kettle, sources: &dyn Sources) {
    section.set("address", &mut kettle.listen, address::socket(1000));
    let consent = Consent::read(section, WORD);
    consent.check_against_tls(section, "without the former, it boils for few");
    if let Some(tls) = section.section("tls") {
        tls.require("certificate", pem::certificate(sources));
        kettle.key = tls.require("key", pem::private_key(sources));
        tls.finish();
    }
    section.finish();
}

fn parse_with(text: &str, sources: &GivenSources) -> Result<Kettle, ConfigProblems> {
    read(text, "kettle.toml", |root| walk(root, sources))
}

fn parse(text: &str) -> Result<Kettle, ConfigProblems> {
    parse_with(text, &GivenSources::default())
}

#[track_caller]
fn good(text: &str) -> Kettle {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn problems_with(text: &str, sources: &GivenSources) -> ConfigProblems {
    parse_with(text, sources).expect_err("something is wrong")
}

#[track_caller]
fn problems(text: &str) -> ConfigProblems {
    problems_with(text, &GivenSources::default())
}

/// Checks that exactly these are the problems, in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(text, &GivenSources::default(), expected);
}

#[track_caller]
fn check_with(text: &str, sources: &GivenSources, expected: &[&str]) {
    let problems = problems_with(text, sources);
    let messages: Vec<&str> = problems.problems().iter().map(Problem::message).collect();
    assert_eq!(messages, expected, "{problems}");
}
