//! `[[queues]]`: queues that there shall be.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use helix_store::{Queue, Visibility};
use toml::de::DeValue;

use super::section::{Complaint, Item, Section};
use super::value::{self, parsed, whole};

/// The longest description, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// The highest number of deliveries that a queue may allow.
const MAX_DELIVERIES: u32 = 1000;

/// How often an item is delivered where nothing is said.
const DEFAULT_DELIVERIES: u32 = 3;

pub(super) fn read(root: &Section<'_>, queues: &mut Vec<Queue>) {
    for section in root.sections("queues") {
        let name = section.require("name", parsed::<helix_model::ids::QueueName>);
        let description = section.get("description", text);
        let operating_system_group = section.get("operating_system_group", text);
        let architecture = section.get("architecture", text);
        let deliveries = section.get("max_delivery_count", whole(1..=MAX_DELIVERIES));
        let visibility = section.get("visibility", visibility);
        let priority = section.get("priority", whole(-1_000_000..=1_000_000));
        let estimated_removal = section.get("estimated_removal", date);
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

fn visibility(item: &Item<'_>) -> Result<Visibility, Complaint> {
    match value::text(item)?.as_str() {
        "open" => Ok(Visibility::Open),
        "internal" => Ok(Visibility::Internal),
        other => {
            Err(Complaint::new(format!("cannot be `{other}`"))
                .hint("there are `open` and `internal`"))
        }
    }
}

/// A day such as `2027-03-31`, of which the first moment in UTC counts.
fn date(item: &Item<'_>) -> Result<SystemTime, Complaint> {
    const HINT: &str = "write a day without quotes, such as 2027-03-31";
    let DeValue::Datetime(datetime) = item.value() else {
        return Err(Complaint::expected("a day", item).hint(HINT));
    };
    let date = datetime
        .date
        .filter(|_| datetime.time.is_none() && datetime.offset.is_none())
        .filter(|date| date.year >= 1970)
        .ok_or_else(|| Complaint::new("must be a day from 1970 on").hint(HINT))?;
    let seconds = days_from_epoch(date.year, date.month, date.day) * 24 * 60 * 60;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar that is not before it.
fn days_from_epoch(year: u16, month: u8, day: u8) -> u64 {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let year = u64::from(year);
    let before: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let lengths = [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let months: u64 = lengths
        .iter()
        .take(usize::from(month.saturating_sub(1)))
        .sum();
    before + months + u64::from(day.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::days_from_epoch;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1970, 12, 31), 364),
            ((1972, 3, 1), 790),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            let (year, month, day) = date;
            assert_eq!(days_from_epoch(year, month, day), days, "{date:?}");
        }
    }
}
