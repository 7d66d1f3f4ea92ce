//! How long a work item may take, how much it may print, and how often it may be tried.

use std::time::Duration;

use helix_model::work_item::{
    Delivery, DeliveryCounts, DeliveryError, Limit, Limits, WantedLimits,
};

use super::reader::Reader;
use crate::agent::v1;

pub(super) fn limits(reader: &mut Reader, message: v1::Limits) -> Option<Limits> {
    let wanted = WantedLimits {
        wall_timeout: duration(reader, Limit::WallTimeout, message.wall_timeout),
        silence_timeout: duration(reader, Limit::SilenceTimeout, message.silence_timeout),
        kill_grace: duration(reader, Limit::KillGrace, message.kill_grace),
        output_bytes: (message.output_bytes > 0).then_some(message.output_bytes),
    };
    // The model stops at the first limit that is wrong; asked for each by itself, it tells all.
    let none = WantedLimits::default();
    for alone in [
        WantedLimits {
            wall_timeout: wanted.wall_timeout,
            ..none
        },
        WantedLimits {
            silence_timeout: wanted.silence_timeout,
            ..none
        },
        WantedLimits {
            kill_grace: wanted.kill_grace,
            ..none
        },
        WantedLimits {
            output_bytes: wanted.output_bytes,
            ..none
        },
    ] {
        if let Err(error) = alone.resolve() {
            reader.say(path(error.limit()), error);
        }
    }
    wanted.resolve().ok()
}

fn path(limit: Limit) -> &'static str {
    match limit {
        Limit::WallTimeout => "work_item.limits.wall_timeout",
        Limit::SilenceTimeout => "work_item.limits.silence_timeout",
        Limit::KillGrace => "work_item.limits.kill_grace",
        Limit::OutputBytes => "work_item.limits.output_bytes",
    }
}

fn duration(
    reader: &mut Reader,
    limit: Limit,
    value: Option<prost_types::Duration>,
) -> Option<Duration> {
    reader.check(path(limit), crate::time::duration(value?))
}

pub(super) fn delivery(reader: &mut Reader, message: &v1::Delivery) -> Option<Delivery> {
    let number = message.number.max(1);
    let counts = DeliveryCounts {
        number,
        queue_max: message.queue_max_delivery_count.max(1),
        retries_requested: message.retries_requested,
        retries_used: message.retries_used.unwrap_or(number - 1),
    };
    // As with the limits: each of the two that may be wrong is asked for with the other put right.
    for alone in [
        DeliveryCounts {
            retries_used: 0,
            ..counts
        },
        DeliveryCounts {
            queue_max: u32::MAX,
            ..counts
        },
    ] {
        if let Err(error) = Delivery::try_from(alone) {
            let field = match error {
                DeliveryError::NumberZero | DeliveryError::BeyondMax { .. } => "number",
                DeliveryError::QueueMaxZero => "queue_max_delivery_count",
                DeliveryError::TooManyRetries { .. } => "retries_used",
            };
            reader.say(format!("work_item.delivery.{field}"), error);
        }
    }
    Delivery::try_from(counts).ok()
}
