//! Tests of versions and ranges.

use proptest::prelude::*;

use super::*;
use crate::testing::{hash_of, parsed};

fn version(text: &str) -> Version {
    parsed(text)
}

#[test]
fn versions_in_the_wild_are_in_the_order_that_people_expect() {
    let ordered = [
        "0",
        "0.0.1",
        "1.8.0",
        "1.8.0_292",
        "1.8.0_301",
        "1.9",
        "1.10",
        "3.12.0a4",
        "3.12.0b1",
        "3.12.0rc1",
        "3.12.0rc2",
        "3.12.0rc10",
        "3.12",
        "3.12.1",
        "5.15.0~rc3",
        "5.15.0",
        "5.15.0-91-generic",
        "5.15.0-1071-azure",
        "5.15.1",
        "9.0.100-alpha.1",
        "9.0.100-preview.7.24407.12",
        "9.0.100-rc.1.24452.12",
        "9.0.100-rc.2.24474.11",
        "9.0.100",
        "9.0.103",
        "14",
        "14.1",
        "14A309",
        "14A400",
        "14B47b",
        "15",
        "16.1-beta.2",
        "v16.1",
        "16.1.1",
        "16.2",
        "17-ea",
        "17.0.15",
        "17.0.15+5",
        "17.0.15+6",
        "17.0.15+6.1",
        "v20.1",
        "99999999999999999999999999.1",
        "100000000000000000000000000",
    ];
    for (left_index, left) in ordered.iter().enumerate() {
        for (right_index, right) in ordered.iter().enumerate() {
            let order = version(left).cmp(&version(right));
            assert_eq!(order, left_index.cmp(&right_index), "{left} and {right}");
        }
    }
}

#[test]
fn letters_after_a_release_make_it_later_unless_they_mean_a_pre_release() {
    let check = |earlier: &str, later: &str| {
        assert!(version(earlier) < version(later), "{earlier} < {later}");
    };
    check("1.1.1", "1.1.1w");
    check("1.1.1a", "1.1.1w");
    check("4.1", "4.1.Final");
    check("2.0.0.beta2", "2.0.0");
    check("2.0.0.Beta2", "2.0.0.beta3");
    check("1.0-SNAPSHOT", "1.0");
    check("1.0dev", "1.0");
    check("1.0~1", "1.0");
    // Numbers before words in a pre-release, as semantic versioning has it.
    check("1.0-alpha.1", "1.0-alpha.beta");
    check("1.0-alpha", "1.0-alpha.1");
}

#[test]
fn spellings_of_the_same_version_are_equal() {
    let check = |left: &str, right: &str| {
        assert_eq!(version(left), version(right));
        assert_eq!(
            hash_of(&version(left)),
            hash_of(&version(right)),
            "{left} {right}"
        );
    };
    check("16.1", "16.1.0");
    check("16.1", "v16.1.0.0");
    check("0", "0.0");
    check("1.02", "1.2");
    check("1.8_0", "1.8.0");
    check("1.0rc1", "1.0-rc.1");
    check("1.0-RC1", "1.0.0-rc1");
}

#[test]
fn texts_that_are_no_versions_say_why_and_where() {
    let check = |text: &str, expected: VersionError| {
        assert_eq!(
            Version::parse(text).expect_err("no version"),
            expected,
            "{text:?}"
        );
    };
    check("", VersionError::Empty);
    check(
        "v",
        VersionError::BadStart {
            character: 'v',
            position: 1,
        },
    );
    check(
        "latest",
        VersionError::BadStart {
            character: 'l',
            position: 1,
        },
    );
    check(
        "-1",
        VersionError::BadStart {
            character: '-',
            position: 1,
        },
    );
    check(
        "1 2",
        VersionError::BadCharacter {
            character: ' ',
            position: 2,
        },
    );
    check(
        "1.²",
        VersionError::BadCharacter {
            character: '²',
            position: 3,
        },
    );
    check("1..2", VersionError::EmptySegment { position: 3 });
    check("v1.", VersionError::EmptySegment { position: 4 });
    check("1-", VersionError::EmptySegment { position: 3 });
    check("1.0-rc..1", VersionError::EmptySegment { position: 8 });
    check("1+", VersionError::EmptySegment { position: 3 });
    check("1.+5", VersionError::EmptySegment { position: 3 });
    check(&"1".repeat(129), VersionError::TooLong { length: 129 });
}

#[test]
fn numbers_of_a_release_can_be_asked_for() {
    let version = version("9.0.203-rc.1");
    let numbers: Vec<_> = (0..4).map(|index| version.segment(index)).collect();
    assert_eq!(numbers, [Some(9), Some(0), Some(203), Some(0)]);
    assert_eq!(version.segment_count(), 3);
    assert_eq!(parsed::<Version>("14A309").segment(0), None);
    assert_eq!(
        parsed::<Version>("99999999999999999999999").segment(0),
        None
    );
}

fn check_range(range: &str, inside: &[&str], outside: &[&str]) {
    let range: VersionRange = parsed(range);
    for text in inside {
        assert!(
            range.contains(&version(text)),
            "{text} should be in {range}"
        );
    }
    for text in outside {
        assert!(
            !range.contains(&version(text)),
            "{text} should not be in {range}"
        );
    }
}

#[test]
fn bare_version_means_everything_below_it_in_the_tree() {
    let (inside, outside) = (
        ["16.1", "16.1.0", "16.1.7.2", "v16.1"],
        ["16.10", "16", "16.2", "15"],
    );
    check_range("16.1", &inside, &outside);
    check_range("16.1.*", &inside, &outside);
    check_range("16.0", &["16", "16.0.3"], &["16.1"]);
    check_range(
        "17.0.15",
        &["17.0.15+6", "17.0.15-1ubuntu1"],
        &["17.0.15-ea"],
    );
    check_range(
        "17.0.15+6",
        &["17.0.15+6", "17.0.15+6.1"],
        &["17.0.15+7", "17.0.15"],
    );
    check_range("14A309", &["14A309"], &["14A310", "14"]);
    check_range(
        "9.0.100-rc.1",
        &["9.0.100-rc.1", "9.0.100-rc.1.24452.12"],
        &["9.0.100-rc.2", "9.0.100"],
    );
    check_range(
        "5.15-1071",
        &["5.15.0-1071-azure"],
        &["5.15", "5.15-1072", "5.15.1-1071"],
    );
}

#[test]
fn operators_compare_by_the_order_of_versions() {
    check_range("=16.1", &["16.1", "16.1.0", "16.1+5"], &["16.1.1", "16"]);
    check_range("==16.1", &["16.1"], &["16.1.1"]);
    check_range(">16.1", &["16.1.1", "17"], &["16.1", "16.1.0+3"]);
    check_range(">=16.1", &["16.1", "99"], &["16.0.9"]);
    check_range("<17", &["16.9", "0"], &["17", "17.0.1"]);
    check_range("<=17", &["17", "17.0.0", "16"], &["17.0.1"]);
    check_range(">=16, <17", &["16", "16.99"], &["15", "17", "17-rc.1"]);
    check_range(">=16 <17", &["16", "16.99"], &["15", "17"]);
    check_range(">= 16,< 17", &["16"], &["17"]);
    check_range(
        "14 || >=16,<17|| 20",
        &["14.2", "16.5", "20.1"],
        &["15", "17", "21"],
    );
    check_range(
        ">=17.0.15+6",
        &["17.0.15+6", "17.0.16"],
        &["17.0.15+5", "17.0.15"],
    );
}

#[test]
fn tilde_and_caret_stay_near_where_they_start() {
    check_range("~16.1.2", &["16.1.2", "16.1.9"], &["16.1.1", "16.2"]);
    check_range("~16.1", &["16.1", "16.1.9"], &["16.2", "16"]);
    check_range("~16", &["16", "16.9"], &["17", "15"]);
    check_range("^16.1.2", &["16.1.2", "16.9"], &["16.1.1", "17"]);
    check_range("^0.2.3", &["0.2.3", "0.2.9"], &["0.2.2", "0.3"]);
    check_range("^0.0.3", &["0.0.3", "0.0.3.1"], &["0.0.4", "0.0.2"]);
    check_range("^0.0", &["0.0.9"], &["0.1"]);
    check_range("^0", &["0.9"], &["1"]);
}

#[test]
fn pre_release_is_only_taken_by_who_names_one() {
    check_range("*", &["9.0.100-rc.1", "1"], &[]);
    check_range("9.0", &["9.0.100"], &["9.0.100-rc.1"]);
    check_range(">=9", &["9.0.100"], &["9.0.100-rc.1", "10-preview.1"]);
    check_range(
        ">=9.0.100-rc.1",
        &["9.0.100-rc.1", "9.0.100-rc.2", "9.0.100", "10-rc.1"],
        &["9.0.100-alpha"],
    );
    check_range(
        ">=16-rc.1, <17",
        &["16-rc.2", "16.5-rc.1"],
        &["17-rc.1", "17"],
    );
    check_range("<17-rc.2", &["17-rc.1", "16"], &["17-rc.2", "17"]);
    check_range(
        "~9.0.100-rc.1",
        &["9.0.100-rc.2", "9.0.101"],
        &["9.1", "9.0.100-beta"],
    );
    check_range(
        "^9.0.100-rc.1",
        &["9.0.100-rc.2", "9.5"],
        &["10", "9.0.100-beta"],
    );
    check_range(">=16, <18, *", &["17-rc.1", "17"], &["16-rc.1", "18-rc.1"]);
    // One alternative that names a pre-release does not open the others.
    check_range("8 || >=9-rc.1", &["9-rc.1"], &["8.1-rc.1"]);
}

#[test]
fn texts_that_are_no_ranges_say_why_and_where() {
    let check = |text: &str, expected: &str| {
        let error = VersionRange::parse(text).expect_err("no range");
        assert_eq!(error.to_string(), expected, "{text:?}");
    };
    check("", "a version is missing at position 1");
    check("  ", "a version is missing at position 1");
    check("16,", "a version is missing at position 4");
    check("16 || ", "a version is missing at position 6");
    check(">=", "a version is missing at position 3");
    check(">=16, <", "a version is missing at position 8");
    check(
        "=>16",
        "at position 1 is `=>`, which is none of the operators `=`, `>`, `>=`, `<`, `<=`, `~` and `^`",
    );
    check(
        "1, ~> 16",
        "at position 4 is `~>`, which is none of the operators `=`, `>`, `>=`, `<`, `<=`, `~` and `^`",
    );
    check(
        ">=16.*",
        "the `*` at position 3 may only stand alone or end a version such as `16.*`",
    );
    check(
        "1*",
        "the `*` at position 1 may only stand alone or end a version such as `16.*`",
    );
    check(
        "16, x",
        "at position 5 a version should start, with a digit or with `v` and a digit, not with 'x'",
    );
    check(
        ">= 16..1",
        "the version has nothing at position 7, where a number or a word is due",
    );
    check("ä || 16", "the version has the character 'ä' at position 1");
    check("é16, 1ß", "the version has the character 'é' at position 1");
    check("16, 1ß", "the version has the character 'ß' at position 6");
    check(
        &"1".repeat(1025),
        "the range has 1025 bytes, the limit is 1024",
    );
}

#[test]
fn ranges_are_told_apart_by_their_place_in_the_tree() {
    let (wide, narrow): (VersionRange, VersionRange) = (parsed("16.1"), parsed("16.1.0"));
    assert_ne!(wide, narrow);
    assert_eq!(wide, parsed("16.1.*"));
    assert_eq!(hash_of(&wide), hash_of(&parsed::<VersionRange>("16.1.*")));
}

fn any_version() -> impl Strategy<Value = Version> {
    // Few letters and digits, so that equal and nearly equal versions are common.
    let release = "v?[0-2]([._][0-2a]{1,2}){0,3}";
    let tail = "(-rc\\.[01]|-[01]|~b|rc1|a1|)(\\+[01])?";
    (release, tail).prop_map(|(release, tail)| parsed(&format!("{release}{tail}")))
}

fn any_range() -> impl Strategy<Value = VersionRange> {
    let comparator = (
        prop::sample::select(vec!["", "=", ">", ">=", "<", "<=", "~", "^"]),
        any_version(),
    )
        .prop_map(|(operator, version)| format!("{operator}{version}"));
    let comparator = prop_oneof![9 => comparator, 1 => Just("*".to_owned())];
    let all = prop::collection::vec(comparator, 1..3).prop_map(|texts| texts.join(", "));
    prop::collection::vec(all, 1..3).prop_map(|texts| parsed(&texts.join(" || ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn order_is_total(a in any_version(), b in any_version(), c in any_version()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        if a <= b && b <= c {
            prop_assert!(a <= c, "{} {} {}", a, b, c);
        }
        if a == b {
            prop_assert_eq!(hash_of(&a), hash_of(&b));
            prop_assert_eq!(a.cmp(&c), b.cmp(&c));
        }
    }

    #[test]
    fn version_round_trips(version in any_version()) {
        let again: Version = parsed(&version.to_string());
        prop_assert_eq!(again.as_str(), version.as_str());
        prop_assert_eq!(again, version);
    }

    #[test]
    fn range_round_trips(range in any_range()) {
        prop_assert_eq!(parsed::<VersionRange>(&range.to_string()), range);
    }

    #[test]
    fn range_does_not_tell_equal_versions_apart(
        range in any_range(), version in any_version(), zeros in 0_usize..3,
    ) {
        // The same version with more zeros, where it has nothing but a release.
        if version.segment_count() == version.as_str().split(['.', '_']).count()
            && !version.as_str().contains(['-', '~', '+', 'r', 'a'])
        {
            let longer: Version = parsed(&format!("{version}{}", ".0".repeat(zeros)));
            prop_assert_eq!(&longer, &version);
            prop_assert_eq!(range.contains(&longer), range.contains(&version), "{} {}", longer, range);
        }
    }

    #[test]
    fn comparisons_agree_with_the_order(bound in any_version(), version in any_version()) {
        let contains = |operator: &str| {
            parsed::<VersionRange>(&format!("{operator}{bound}")).contains(&version)
        };
        if version.is_pre_release() && !bound.is_pre_release() {
            for operator in ["", "=", ">", ">=", "<", "<=", "~", "^"] {
                prop_assert!(!contains(operator));
            }
        } else {
            prop_assert!(contains(">=") != contains("<"));
            prop_assert!(contains(">") != contains("<="));
            prop_assert_eq!(contains(">=") && contains("<="), contains("="));
            prop_assert!(!contains("~") || contains(">="));
            prop_assert!(!contains("^") || contains(">="));
            prop_assert!(!contains("~") || contains("^") || bound.segment(0) == Some(0), "~ within ^");
        }
        prop_assert!(parsed::<VersionRange>(&bound.to_string()).contains(&bound));
    }

    #[test]
    fn union_contains_what_either_does(a in any_range(), b in any_range(), version in any_version()) {
        let either = a.contains(&version) || b.contains(&version);
        prop_assert_eq!(a.or(b).contains(&version), either);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,24}|[0-9a.*<>=~^|, v+-]{0,24}") {
        if let Ok(version) = Version::parse(&text) {
            prop_assert_eq!(version.as_str(), text.as_str());
        }
        if let Ok(range) = VersionRange::parse(&text) {
            prop_assert_eq!(VersionRange::parse(&range.to_string()), Ok(range));
        }
    }
}
