//! How often a work item has been handed out, and how often it may be.
//!
//! Two counters, kept apart: every hand-out to an agent that started it is a **delivery**, whatever
//! came of it; only a failed delivery that leads to another one is a **retry**. A lost machine or a
//! broken disk costs a delivery and no retry.

/// The counters as a request carries them, not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Which delivery of the item this is, counted from 1.
    pub number: u32,
    /// How many deliveries the queue allows in all; at least 1.
    pub queue_max: u32,
    /// How many retries after a failure the sender asked for.
    pub retries_requested: u32,
    /// How many of the deliveries before this one ended as a failure that was retried.
    pub retries_used: u32,
}

/// Where an item stands: which delivery this is, and what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery(DeliveryCounts);

/// Counters that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Deliveries are counted from 1.
    #[error("the delivery number is 0, deliveries are counted from 1")]
    NumberZero,
    /// A queue that allows no delivery can run nothing.
    #[error("the queue's max delivery count is 0, it must be at least 1")]
    QueueMaxZero,
    /// The item has been handed out more often than its queue allows.
    #[error("delivery {number} is beyond the queue's max delivery count of {queue_max}")]
    BeyondMax {
        /// Which delivery it would be.
        number: u32,
        /// How many are allowed.
        queue_max: u32,
    },
    /// More retries than deliveries before this one.
    #[error("{retries_used} retries cannot have been used before delivery {number}")]
    TooManyRetries {
        /// How many retries are said to have been used.
        retries_used: u32,
        /// Which delivery this is.
        number: u32,
    },
}

impl TryFrom<DeliveryCounts> for Delivery {
    type Error = DeliveryError;

    fn try_from(counts: DeliveryCounts) -> Result<Self, DeliveryError> {
        let DeliveryCounts {
            number,
            queue_max,
            retries_requested: _,
            retries_used,
        } = counts;
        if number == 0 {
            return Err(DeliveryError::NumberZero);
        }
        if queue_max == 0 {
            return Err(DeliveryError::QueueMaxZero);
        }
        if number > queue_max {
            return Err(DeliveryError::BeyondMax { number, queue_max });
        }
        if retries_used >= number {
            return Err(DeliveryError::TooManyRetries {
                retries_used,
                number,
            });
        }
        Ok(Self(counts))
    }
}

impl Delivery {
    /// The first delivery of an item. A `queue_max` of 0 counts as 1.
    #[must_use]
    pub fn first(queue_max: u32, retries_requested: u32) -> Self {
        Self(DeliveryCounts {
            number: 1,
            queue_max: queue_max.max(1),
            retries_requested,
            retries_used: 0,
        })
    }

    /// Which delivery this is, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// How many deliveries the queue allows in all.
    #[must_use]
    pub fn queue_max(&self) -> u32 {
        self.0.queue_max
    }

    /// How many retries the sender asked for.
    #[must_use]
    pub fn retries_requested(&self) -> u32 {
        self.0.retries_requested
    }

    /// How many retries have been used before this delivery.
    #[must_use]
    pub fn retries_used(&self) -> u32 {
        self.0.retries_used
    }

    /// How many retries the item gets: what was asked for, at most one less than the queue's
    /// deliveries.
    #[must_use]
    pub fn retries_allowed(&self) -> u32 {
        self.0
            .retries_requested
            .min(self.0.queue_max.saturating_sub(1))
    }

    /// How many deliveries may follow this one.
    #[must_use]
    pub fn deliveries_left(&self) -> u32 {
        self.0.queue_max.saturating_sub(self.0.number)
    }

    /// How many retries may follow this delivery.
    #[must_use]
    pub fn retries_left(&self) -> u32 {
        self.retries_allowed()
            .saturating_sub(self.0.retries_used)
            .min(self.deliveries_left())
    }

    /// The delivery after a failure, if one is left.
    #[must_use]
    pub fn after_failure(&self) -> Option<Self> {
        (self.retries_left() > 0).then(|| {
            Self(DeliveryCounts {
                number: self.0.number.saturating_add(1),
                retries_used: self.0.retries_used.saturating_add(1),
                ..self.0
            })
        })
    }

    /// The delivery after an attempt that told nothing about the item, if one is left.
    #[must_use]
    pub fn after_infrastructure(&self) -> Option<Self> {
        (self.deliveries_left() > 0).then(|| {
            Self(DeliveryCounts {
                number: self.0.number.saturating_add(1),
                ..self.0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retries_are_clamped_to_what_the_queue_can_deliver() {
        let check = |queue_max, requested, allowed| {
            let delivery = Delivery::first(queue_max, requested);
            assert_eq!(
                delivery.retries_allowed(),
                allowed,
                "{queue_max} {requested}"
            );
            assert_eq!(delivery.retries_left(), allowed, "{queue_max} {requested}");
        };
        check(3, 0, 0);
        check(3, 1, 1);
        check(3, 2, 2);
        check(3, 9, 2);
        check(1, 5, 0);
        check(0, 5, 0);
        check(u32::MAX, u32::MAX, u32::MAX - 1);
    }

    #[test]
    fn lost_delivery_costs_no_retry_but_its_place() {
        let first = Delivery::first(3, 2);
        let second = first.after_infrastructure().expect("two are left");
        assert_eq!(
            (
                second.number(),
                second.retries_used(),
                second.retries_left()
            ),
            (2, 0, 1)
        );
        let third = second.after_failure().expect("one is left");
        assert_eq!(
            (third.number(), third.retries_used(), third.retries_left()),
            (3, 1, 0)
        );
        assert_eq!(third.after_failure(), None);
        assert_eq!(third.after_infrastructure(), None);
    }

    #[test]
    fn counters_that_contradict_each_other_are_refused() {
        let check = |number, queue_max, retries_used, expected| {
            let counts = DeliveryCounts {
                number,
                queue_max,
                retries_requested: 9,
                retries_used,
            };
            assert_eq!(Delivery::try_from(counts).map(drop), expected);
        };
        check(1, 1, 0, Ok(()));
        check(3, 3, 2, Ok(()));
        check(0, 3, 0, Err(DeliveryError::NumberZero));
        check(1, 0, 0, Err(DeliveryError::QueueMaxZero));
        check(
            4,
            3,
            0,
            Err(DeliveryError::BeyondMax {
                number: 4,
                queue_max: 3,
            }),
        );
        check(
            2,
            3,
            2,
            Err(DeliveryError::TooManyRetries {
                retries_used: 2,
                number: 2,
            }),
        );
    }

    proptest! {
        #[test]
        fn whatever_follows_a_delivery_is_a_legal_delivery(
            number: u32, queue_max: u32, retries_requested: u32, retries_used: u32,
        ) {
            let counts = DeliveryCounts { number, queue_max, retries_requested, retries_used };
            if let Ok(delivery) = Delivery::try_from(counts) {
                let next = [delivery.after_failure(), delivery.after_infrastructure()];
                for next in next.into_iter().flatten() {
                    prop_assert_eq!(Delivery::try_from(next.0), Ok(next));
                    prop_assert_eq!(next.number(), number + 1);
                    prop_assert!(next.retries_left() <= delivery.retries_left());
                }
                prop_assert!(delivery.retries_left() <= delivery.deliveries_left());
            }
        }
    }
}
