//! What a machine has and lacks, in the words of the wire: the parts of `capacity.proto` that come
//! from the model. The rest of a `Capacity` is the agent's own.

use helix_model::capability::{CapabilityName, CapabilityValue, Missing};
use helix_model::resources::Resources;

use crate::agent::v1;

/// Amounts. Processes are a limit and no amount, so that they stay 0.
#[must_use]
pub fn resources(resources: &Resources) -> v1::Resources {
    v1::Resources {
        slots: resources.slots,
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
        processes: 0,
    }
}

/// Something that a machine has: with versions, with texts, or with neither where it is just there.
#[must_use]
pub fn capability(name: &CapabilityName, value: &CapabilityValue) -> v1::Capability {
    let (versions, texts) = match value {
        CapabilityValue::Label => (Vec::new(), Vec::new()),
        CapabilityValue::Texts(texts) => (Vec::new(), texts.iter().cloned().collect()),
        CapabilityValue::Versions(versions) => (
            versions.iter().map(ToString::to_string).collect(),
            Vec::new(),
        ),
    };
    v1::Capability {
        name: name.to_string(),
        versions,
        texts,
    }
}

/// Something that a machine lacks, and which versions or texts of it there are instead.
#[must_use]
pub fn missing(missing: &Missing) -> v1::MissingCapability {
    let present = missing
        .present
        .as_ref()
        .map(|value| capability(&missing.name, value))
        .map(|present| present.versions.into_iter().chain(present.texts).collect())
        .unwrap_or_default();
    v1::MissingCapability {
        name: missing.name.to_string(),
        wanted: missing.wanted.to_string(),
        present,
        asked_by: missing.asked_by.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use helix_model::capability::Wanted;
    use helix_model::version::Version;

    use super::*;

    fn name() -> CapabilityName {
        CapabilityName::new("Xcode").expect("a good name")
    }

    #[test]
    fn capability_has_versions_in_their_order_or_texts_or_neither() {
        let versions = ["16.10", "16.9"].map(|text| Version::parse(text).expect("a version"));
        let wire = capability(&name(), &CapabilityValue::versions(versions));
        assert_eq!(wire.name, "xcode");
        assert_eq!(wire.versions, ["16.9", "16.10"]);
        assert!(wire.texts.is_empty());
        let wire = capability(&name(), &CapabilityValue::text("linux"));
        assert_eq!(
            (wire.versions.len(), wire.texts),
            (0, vec!["linux".to_owned()])
        );
        let wire = capability(&name(), &CapabilityValue::Label);
        assert!(wire.versions.is_empty() && wire.texts.is_empty());
    }

    #[test]
    fn what_is_missing_says_who_asks_and_what_is_there() {
        let mut lacking = Missing {
            name: name(),
            wanted: Wanted::parse(">=16").expect("a range"),
            present: Some(CapabilityValue::text("15.4")),
            asked_by: Some(".xcode-version".to_owned()),
        };
        let wire = missing(&lacking);
        assert_eq!(
            (wire.name.as_str(), wire.wanted.as_str()),
            ("xcode", ">=16")
        );
        assert_eq!(
            (wire.present, wire.asked_by.as_str()),
            (vec!["15.4".to_owned()], ".xcode-version")
        );
        (lacking.present, lacking.asked_by) = (None, None);
        let wire = missing(&lacking);
        assert!(wire.present.is_empty() && wire.asked_by.is_empty());
    }

    #[test]
    fn amounts_keep_their_units() {
        let amounts = Resources {
            slots: 1,
            cpu_millis: 2,
            memory_bytes: 3,
            disk_bytes: 4,
        };
        let wire = resources(&amounts);
        assert_eq!((wire.slots, wire.cpu_millis), (1, 2));
        assert_eq!(
            (wire.memory_bytes, wire.disk_bytes, wire.processes),
            (3, 4, 0)
        );
    }
}
