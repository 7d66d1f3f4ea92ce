//! Which version to install for what is wanted.

use helix_model::capability::{CapabilityValue, Wanted};
use helix_model::version::{Version, VersionRange};

use super::Provisioner;

/// Why there is no version to install.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// None of those that it offers is wanted.
    #[error("it offers none that is wanted")]
    NotOffered,
    /// What is wanted names no version, and neither does the configuration.
    #[error("what is wanted names none, and there is no default that would do")]
    NotNamed,
}

/// The version to install; none for a provisioner that does not ask for one.
pub(super) fn choose(
    provisioner: &Provisioner,
    wanted: &Wanted,
) -> Result<Option<Version>, NoVersion> {
    let is_wanted =
        |version: &Version| wanted.is_met_by(&CapabilityValue::versions([version.clone()]));
    let default = provisioner
        .default_version
        .as_ref()
        .filter(|version| is_wanted(version));
    let version = if provisioner.versions.is_empty() {
        let named = match wanted {
            Wanted::Present | Wanted::Text(_) => None,
            Wanted::Range(range) => newest_lower_bound(range),
        };
        named.or_else(|| default.cloned())
    } else {
        let offered = provisioner
            .versions
            .iter()
            .filter(|version| is_wanted(version));
        let newest = match (wanted, default) {
            (Wanted::Present, Some(default)) => Some(default),
            (_, _) => offered.max(),
        };
        Some(newest.ok_or(NoVersion::NotOffered)?.clone())
    };
    if !provisioner.command.wants_version() {
        return Ok(None);
    }
    version.map(Some).ok_or(NoVersion::NotNamed)
}

/// The newest version that a range names as exact or as a lower bound, and that is in the range
/// itself.
///
/// A range that only excludes (`<17`, `>16`) names none: 16.0.0.1 is above 16, but nobody meant
/// that.
fn newest_lower_bound(range: &VersionRange) -> Option<Version> {
    // The text of a range is its one public form; `||` and `,` part it, and no version has either.
    let text = range.to_string();
    text.split("||")
        .flat_map(|alternative| alternative.split(','))
        .filter_map(|comparator| {
            let comparator = comparator.trim();
            let digits = comparator.find(|character: char| !"<>=~^".contains(character))?;
            let (operator, version) = comparator.split_at(digits);
            match operator {
                "" | "=" | "==" | ">=" | "~" | "^" => Version::parse(version.trim()).ok(),
                _ => None,
            }
        })
        .filter(|version| range.contains(version))
        .max()
}

#[cfg(test)]
mod tests {
    use helix_model::capability::{CapabilityName, Wanted};
    use helix_model::provisioning::ProvisioningPolicy;
    use helix_model::version::{Version, VersionRange};
    use proptest::prelude::*;

    use super::{NoVersion, choose, newest_lower_bound};
    use crate::command::{CommandTemplate, Environment};
    use crate::provision::{Provisioner, ProvisionerName};

    fn version(text: &str) -> Version {
        Version::parse(text).expect("it is a version")
    }

    fn provisioner(arguments: &str, offered: &[&str], default: Option<&str>) -> Provisioner {
        let words = ["install".to_owned(), arguments.to_owned()];
        Provisioner {
            name: ProvisionerName::new("tool").expect("it is a name"),
            capability: CapabilityName::new("tool").expect("it is a name"),
            versions: offered.iter().map(|text| version(text)).collect(),
            default_version: default.map(version),
            command: CommandTemplate::new(words).expect("it is a template"),
            environment: Environment::default(),
            policy: ProvisioningPolicy::default(),
            log_directory: "/nonexistent".into(),
            min_free_disk: None,
        }
    }

    #[track_caller]
    fn check(provisioner: &Provisioner, wanted: &str, expected: Result<Option<&str>, NoVersion>) {
        let wanted = Wanted::parse(wanted).expect("it can be wanted");
        let chosen = choose(provisioner, &wanted);
        let chosen = chosen
            .as_ref()
            .map(|version| version.as_ref().map(Version::as_str));
        assert_eq!(
            chosen,
            expected.as_ref().map(|version| *version),
            "{wanted}"
        );
    }

    #[test]
    fn any_version_offered_takes_the_lower_bound() {
        let any = provisioner("{version}", &[], None);
        check(&any, "16.1", Ok(Some("16.1")));
        check(&any, "=16.1.0", Ok(Some("16.1.0")));
        check(&any, ">=16, <17", Ok(Some("16")));
        check(&any, ">=16, >=16.2", Ok(Some("16.2")));
        check(&any, "16.*", Ok(Some("16")));
        check(&any, "~16.1.2", Ok(Some("16.1.2")));
        check(&any, "^9.0.100", Ok(Some("9.0.100")));
        check(&any, "14 || >=16", Ok(Some("16")));
        check(&any, ">=17.0-rc.1", Ok(Some("17.0-rc.1")));
    }

    #[test]
    fn nothing_named_takes_the_default_or_nothing() {
        let without = provisioner("{version}", &[], None);
        let with = provisioner("{version}", &[], Some("16.4"));
        for wanted in ["", "*", "<17", ">16", "<=16.4"] {
            check(&without, wanted, Err(NoVersion::NotNamed));
            check(&with, wanted, Ok(Some("16.4")));
        }
        check(&with, "<16", Err(NoVersion::NotNamed));
        check(&with, "17", Ok(Some("17")));
        check(&with, "=nightly", Err(NoVersion::NotNamed));
    }

    #[test]
    fn newest_offered_that_is_wanted_is_taken() {
        let some = provisioner(
            "{version}",
            &["15.4", "16.2", "16.1", "17.0-beta.2"],
            Some("16.1"),
        );
        check(&some, ">=16", Ok(Some("16.2")));
        check(&some, "15", Ok(Some("15.4")));
        check(&some, "", Ok(Some("16.1")));
        check(&some, "14", Err(NoVersion::NotOffered));
        check(&some, "<16", Ok(Some("15.4")));
    }

    #[test]
    fn command_without_a_place_for_a_version_is_run_for_whatever_it_may_bring() {
        let any = provisioner("all", &[], None);
        check(&any, "", Ok(None));
        check(&any, "16", Ok(None));
        check(&any, "<17", Ok(None));
        let some = provisioner("all", &["16.1"], None);
        check(&some, "16", Ok(None));
        check(&some, "17", Err(NoVersion::NotOffered));
    }

    proptest! {
        // What is installed for a range is always in it, whatever the range.
        #[test]
        fn lower_bound_is_in_its_range(text in "((<|>|<=|>=|=|~|\\^)?[0-9]{1,2}(\\.[0-9]){0,2}(, |,| | \\|\\| )?){1,4}") {
            let Ok(range) = VersionRange::parse(&text) else { return Ok(()) };
            if let Some(version) = newest_lower_bound(&range) {
                prop_assert!(range.contains(&version), "{} in {}", version, range);
            }
        }
    }
}
