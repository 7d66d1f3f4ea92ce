//! What a machine has and lacks, in the words of the wire.

use helix_model::capability::{CapabilityName, CapabilityValue, Missing};
use helix_model::resources::Resources;

use crate::agent::v1;

/// Amounts. Processes are a limit and no amount, so they stay 0.
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

/// Something that a machine has.
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

/// Something that a machine lacks.
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
