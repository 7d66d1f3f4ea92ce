//! `[pressure]`: when the machine counts as hard pressed.

use std::time::Duration;

use helix_model::pressure::{LevelThresholds, PressurePolicy, PressureSample, StallShare};
use helix_settings::{Complaint, Item, Section, Value, value};

/// The longest time that a level may have to last, in seconds.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Reads the policy; none if pressure is not to be looked at.
pub(super) fn read(section: Section<'_>, config: &mut Option<PressurePolicy>) {
    let mut policy = config.unwrap_or_default();
    let is_on = section
        .get("enabled", value::truth)
        .unwrap_or(config.is_some());
    let waits = || value::duration(Duration::ZERO..=MAX_WAIT);
    section.set("rise_after", &mut policy.rise_after, waits());
    section.set("fall_after", &mut policy.fall_after, waits());
    level(&section, "elevated", &mut policy.elevated);
    level(&section, "high", &mut policy.high);
    level(&section, "critical", &mut policy.critical);
    section.finish();
    *config = is_on.then_some(policy);
}

fn level(parent: &Section<'_>, key: &'static str, thresholds: &mut LevelThresholds) {
    let Some(section) = parent.section(key) else {
        return;
    };
    sample(&section, "enter", &mut thresholds.enter);
    // Who only says when a level is entered does not mean it to be left above that.
    let LevelThresholds { enter, leave } = thresholds;
    leave.cpu_some = leave.cpu_some.min(enter.cpu_some);
    leave.memory_some = leave.memory_some.min(enter.memory_some);
    leave.memory_full = leave.memory_full.min(enter.memory_full);
    leave.io_full = leave.io_full.min(enter.io_full);
    sample(&section, "leave", &mut thresholds.leave);
    if let Some((name, enter, leave)) = first_above(&thresholds.leave, &thresholds.enter) {
        let message = format!(
            "`pressure.{key}.leave.{name}` is {leave}, which is above {enter}, where the level is \
             entered"
        );
        section.complain(section.span_of("leave"), message, None);
    }
    section.finish();
}

fn sample(parent: &Section<'_>, key: &'static str, sample: &mut PressureSample) {
    if let Some(section) = parent.section(key) {
        section.set("cpu_some", &mut sample.cpu_some, percent);
        section.set("memory_some", &mut sample.memory_some, percent);
        section.set("memory_full", &mut sample.memory_full, percent);
        section.set("io_full", &mut sample.io_full, percent);
        section.finish();
    }
}

/// A number of percent with at most two decimals that count, above 0; or `"never"`.
fn percent(item: &Item<'_>) -> Result<StallShare, Complaint> {
    let text = match item.value() {
        Value::Integer(integer) => integer.decimal(),
        Value::Float(number) => Some(number),
        Value::String("never") => return Ok(StallShare::NEVER),
        _ => None,
    };
    let text = text.ok_or_else(|| Complaint::expected("a number of percent or \"never\"", item))?;
    // Nothing is below 0, so that such a threshold would be reached for ever.
    StallShare::parse(text)
        .ok()
        .filter(|share| *share > StallShare::default())
        .ok_or_else(|| {
            Complaint::new(format!(
                "must be above 0 and at most 100 percent, not {text}"
            ))
            .hint("\"never\" leaves a reading out of account")
        })
}

/// The first reading of `leave` that is above its counterpart in `enter`: its name, and both.
fn first_above(
    leave: &PressureSample,
    enter: &PressureSample,
) -> Option<(&'static str, String, String)> {
    [
        ("cpu_some", enter.cpu_some, leave.cpu_some),
        ("memory_some", enter.memory_some, leave.memory_some),
        ("memory_full", enter.memory_full, leave.memory_full),
        ("io_full", enter.io_full, leave.io_full),
    ]
    .into_iter()
    .find(|(_, enter, leave)| leave > enter)
    .map(|(name, enter, leave)| (name, enter.to_string(), leave.to_string()))
}
