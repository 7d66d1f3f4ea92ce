//! `[[queues]]`: queues that there shall be.

use std::num::NonZeroU32;

use helix_settings::value::{self, parsed, whole};
use helix_settings::{Complaint, Item, Section};
use helix_store::{Queue, Visibility};

/// The longest description, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// The highest number of deliveries that a queue may allow.
const MAX_DELIVERIES: u32 = 1000;

/// How often an item is delivered where nothing is said.
const DEFAULT_DELIVERIES: u32 = 3;

/// Who may send to a queue, as the configuration calls it.
const VISIBILITIES: [(&str, Visibility); 2] = [
    ("open", Visibility::Open),
    ("internal", Visibility::Internal),
];

pub(super) fn read(root: &Section<'_>, queues: &mut Vec<Queue>) {
    for section in root.sections("queues") {
        let name = section.require("name", parsed::<helix_model::ids::QueueName>);
        let description = section.get("description", text);
        let operating_system_group = section.get("operating_system_group", text);
        let architecture = section.get("architecture", text);
        let deliveries = section.get("max_delivery_count", whole(1..=MAX_DELIVERIES));
        let visibility = section.get("visibility", value::one_of(&VISIBILITIES));
        let priority = section.get("priority", whole(-1_000_000..=1_000_000));
        let estimated_removal = section.get("estimated_removal", value::day);
        section.finish();
        let Some(name) = name else { continue };
        if queues.iter().any(|queue: &Queue| queue.name == name) {
            let message = format!("two queues are called `{name}`");
            section.complain(section.span_of("name"), message, None);
        }
        let deliveries = deliveries.unwrap_or(DEFAULT_DELIVERIES);
        queues.push(Queue {
            name,
            description: description.unwrap_or_default(),
            operating_system_group: operating_system_group.unwrap_or_default(),
            architecture: architecture.unwrap_or_default(),
            max_delivery_count: NonZeroU32::new(deliveries).unwrap_or(NonZeroU32::MIN),
            visibility: visibility.unwrap_or(Visibility::Open),
            estimated_removal,
            priority: priority.unwrap_or(0),
        });
    }
}

fn text(item: &Item<'_>) -> Result<String, Complaint> {
    let text = value::any_text(item)?;
    if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        let message = format!("must have at most {MAX_TEXT_BYTES} bytes on one line");
        return Err(Complaint::new(message));
    }
    Ok(text)
}
