//! Numbers out of their range, and the field that is named for it.

use super::malformed::{check, check_fine};
use super::*;

#[test]
fn limits_out_of_range_are_named_all_of_them() {
    let with = |limits| move |item: &mut v1::WorkItem| item.limits = Some(limits);
    let none = v1::Limits::default();
    for (least_wrong, field) in [
        (
            v1::Limits {
                wall_timeout: duration(0, 0),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                wall_timeout: duration(0, 999_999),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                wall_timeout: duration(-1, 0),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                wall_timeout: duration(2_592_000, 1),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                wall_timeout: duration(i64::MAX, i32::MAX),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                wall_timeout: duration(i64::MIN, i32::MIN),
                ..none
            },
            "limits.wall_timeout",
        ),
        (
            v1::Limits {
                silence_timeout: duration(0, 0),
                ..none
            },
            "limits.silence_timeout",
        ),
        (
            v1::Limits {
                silence_timeout: duration(0, -1),
                ..none
            },
            "limits.silence_timeout",
        ),
        (
            v1::Limits {
                silence_timeout: duration(2_592_001, 0),
                ..none
            },
            "limits.silence_timeout",
        ),
        (
            v1::Limits {
                kill_grace: duration(600, 1),
                ..none
            },
            "limits.kill_grace",
        ),
        (
            v1::Limits {
                kill_grace: duration(0, -1),
                ..none
            },
            "limits.kill_grace",
        ),
        (
            v1::Limits {
                output_bytes: 4095,
                ..none
            },
            "limits.output_bytes",
        ),
        (
            v1::Limits {
                output_bytes: (1 << 40) + 1,
                ..none
            },
            "limits.output_bytes",
        ),
    ] {
        check(&[field], with(least_wrong));
    }
    check_fine(with(v1::Limits {
        wall_timeout: duration(0, 1_000_000),
        silence_timeout: duration(2_592_000, 0),
        kill_grace: duration(0, 0),
        output_bytes: 4096,
    }));
    let messages = check(
        &[
            "limits.kill_grace",
            "limits.wall_timeout",
            "limits.silence_timeout",
            "limits.output_bytes",
        ],
        with(v1::Limits {
            wall_timeout: duration(0, 0),
            silence_timeout: duration(0, 0),
            kill_grace: duration(-1, 0),
            output_bytes: 1,
        }),
    );
    assert_eq!(messages[0], "it must not be negative");
}

#[test]
fn counts_that_contradict_each_other_are_named() {
    let with = |number, queue_max_delivery_count, retries_used| {
        move |item: &mut v1::WorkItem| {
            item.delivery = Some(v1::Delivery {
                number,
                queue_max_delivery_count,
                retries_requested: u32::MAX,
                retries_used,
            });
        }
    };
    check(&["delivery.number"], with(2, 0, None));
    check(&["delivery.number"], with(4, 3, Some(0)));
    check(&["delivery.retries_used"], with(2, 3, Some(2)));
    check(&["delivery.retries_used"], with(0, 0, Some(1)));
    check(
        &["delivery.number", "delivery.retries_used"],
        with(4, 3, Some(4)),
    );
    check(&["delivery.number"], with(u32::MAX, 1, None));
    check_fine(with(u32::MAX, u32::MAX, None));
}

#[test]
fn amounts_too_small_to_start_anything_are_named() {
    let with = |cpu_millis, memory_bytes| {
        move |item: &mut v1::WorkItem| {
            item.resources = Some(v1::Resources {
                cpu_millis,
                memory_bytes,
                ..v1::Resources::default()
            });
        }
    };
    check(&["resources.cpu_millis"], with(9, 0));
    check(&["resources.memory_bytes"], with(0, (1 << 20) - 1));
    let messages = check(
        &["resources.cpu_millis", "resources.memory_bytes"],
        with(1, 1),
    );
    assert_eq!(
        messages[1],
        "it is 1, the least that can be asked for is 1048576"
    );
    check_fine(with(10, 1 << 20));
    check_fine(with(0, 0));
}

#[test]
fn network_is_the_machines_or_none() {
    for bad in [2, -1, i32::MAX] {
        check(&["network"], |item| item.network = bad);
    }
    check_fine(|item| item.network = v1::Network::None.into());
}
