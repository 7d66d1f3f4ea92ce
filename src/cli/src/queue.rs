//! A small queue in memory, for `helix up`: the rules of a real one without its
//! store.
//!
//! First in, first out. An item that is requeued goes to the **end** and takes its
//! next delivery number along. An item that is refused for now keeps its place
//! and lets others pass until the agent said to come back. Pure: what time it is
//! comes in as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The numbers that change from attempt to attempt of one work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Attempts so far and this one; makes the attempt's id.
    pub(crate) attempt: u32,
    /// Which delivery it is.
    pub(crate) delivery: u32,
    /// Retries that earlier attempts used.
    pub(crate) retries_used: u32,
}

impl Numbers {
    /// Of the first attempt.
    pub(crate) fn first() -> Self {
        Self {
            attempt: 1,
            delivery: 1,
            retries_used: 0,
        }
    }
}

/// Items in the order in which they are to be offered.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// In the order of their places.
    line: VecDeque<Entry<T>>,
    next_place: u64,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket<T>,
    not_before: Option<Instant>,
}

/// An item that was taken from the queue to be offered; to be settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket<T> {
    /// The item.
    pub(crate) item: T,
    /// Of the attempt to be made.
    pub(crate) numbers: Numbers,
    place: u64,
}

/// What the queue has to give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// This one is next.
    Offer(Ticket<T>),
    /// Nobody before this time.
    Wait(Instant),
    /// Nobody waits.
    Empty,
}

/// How the offer of an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Refused before anything began, but it may be taken later.
    RefusedForNow { come_back_in: Option<Duration> },
    /// The same, found after unpacking, so that the attempt is used up.
    ReturnedForNow {
        come_back_in: Option<Duration>,
        delivery: u32,
    },
    /// It failed with retries left.
    Requeued { delivery: u32, retries_used: u32 },
    /// Nothing was learned, and it may be delivered again.
    Returned { delivery: u32 },
    /// It is decided, dead, or refused for good.
    Over,
}

/// Where an item went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// To the end of the queue, as this delivery.
    ToTheEnd { delivery: u32 },
    /// It keeps its place, but is not offered before the delay is over.
    Held { delay: Duration },
    /// Out of the queue.
    Out,
}

/// When the agent does not say when to come back.
const DEFAULT_DELAY: Duration = Duration::from_millis(500);

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self {
            line: VecDeque::new(),
            next_place: 0,
        }
    }

    /// Puts a new item at the end.
    pub(crate) fn push(&mut self, item: T) {
        self.push_back(item, Numbers::first());
    }

    /// Takes the first item that may be offered at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Turn<T> {
        let ready = |entry: &Entry<T>| entry.not_before.is_none_or(|time| time <= now);
        if let Some(at) = self.line.iter().position(ready)
            && let Some(entry) = self.line.remove(at)
        {
            return Turn::Offer(entry.ticket);
        }
        match self.line.iter().filter_map(|entry| entry.not_before).min() {
            Some(time) => Turn::Wait(time),
            None => Turn::Empty,
        }
    }

    /// Puts an item that was offered where it belongs.
    pub(crate) fn settle(
        &mut self,
        mut ticket: Ticket<T>,
        settlement: Settlement,
        now: Instant,
    ) -> Transition {
        match settlement {
            Settlement::RefusedForNow { come_back_in } => self.hold(ticket, come_back_in, now),
            Settlement::ReturnedForNow {
                come_back_in,
                delivery,
            } => {
                ticket.numbers.attempt = ticket.numbers.attempt.saturating_add(1);
                ticket.numbers.delivery = delivery;
                self.hold(ticket, come_back_in, now)
            }
            Settlement::Requeued {
                delivery,
                retries_used,
            } => {
                ticket.numbers.retries_used = retries_used;
                self.requeue(ticket, delivery)
            }
            Settlement::Returned { delivery } => self.requeue(ticket, delivery),
            Settlement::Over => Transition::Out,
        }
    }

    fn hold(
        &mut self,
        ticket: Ticket<T>,
        come_back_in: Option<Duration>,
        now: Instant,
    ) -> Transition {
        let delay = come_back_in.unwrap_or(DEFAULT_DELAY);
        // An absurd delay must not overflow the clock.
        let not_before = now.checked_add(delay).or(Some(now));
        let at = self
            .line
            .partition_point(|entry| entry.ticket.place < ticket.place);
        self.line.insert(at, Entry { ticket, not_before });
        Transition::Held { delay }
    }

    fn requeue(&mut self, ticket: Ticket<T>, delivery: u32) -> Transition {
        let attempt = ticket.numbers.attempt.saturating_add(1);
        self.push_back(
            ticket.item,
            Numbers {
                attempt,
                delivery,
                ..ticket.numbers
            },
        );
        Transition::ToTheEnd { delivery }
    }

    fn push_back(&mut self, item: T, numbers: Numbers) {
        let ticket = Ticket {
            item,
            numbers,
            place: self.next_place,
        };
        self.next_place += 1;
        self.line.push_back(Entry {
            ticket,
            not_before: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: &[&'static str]) -> Queue<&'static str> {
        let mut queue = Queue::new();
        for item in items {
            queue.push(*item);
        }
        queue
    }

    fn take(queue: &mut Queue<&'static str>, now: Instant) -> Ticket<&'static str> {
        match queue.next(now) {
            Turn::Offer(ticket) => ticket,
            other => panic!("nobody is next: {other:?}"),
        }
    }

    #[test]
    fn a_requeued_item_waits_for_all_others() {
        let now = Instant::now();
        let mut queue = queue(&["a", "b", "c"]);
        let first = take(&mut queue, now);
        assert_eq!((first.item, first.numbers), ("a", Numbers::first()));
        let settlement = Settlement::Requeued {
            delivery: 2,
            retries_used: 1,
        };
        let transition = queue.settle(first, settlement, now);
        assert_eq!(transition, Transition::ToTheEnd { delivery: 2 });
        let order: Vec<_> = (0..3).map(|_| take(&mut queue, now)).collect();
        assert_eq!(
            order.iter().map(|ticket| ticket.item).collect::<Vec<_>>(),
            ["b", "c", "a"]
        );
        assert_eq!(
            order[2].numbers,
            Numbers {
                attempt: 2,
                delivery: 2,
                retries_used: 1
            }
        );
        assert_eq!(queue.next(now), Turn::Empty);
    }

    #[test]
    fn a_refused_item_lets_others_pass_and_then_goes_first() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut queue = queue(&["a", "b", "c"]);
        let first = take(&mut queue, now);
        let settlement = Settlement::RefusedForNow {
            come_back_in: Some(Duration::from_secs(3)),
        };
        queue.settle(first, settlement, now);
        assert_eq!(take(&mut queue, now).item, "b");
        let first = take(&mut queue, later);
        assert_eq!(
            (first.item, first.numbers),
            ("a", Numbers::first()),
            "it never ran"
        );
        assert_eq!(take(&mut queue, later).item, "c");
    }

    #[test]
    fn refused_items_keep_their_order_among_themselves() {
        let now = Instant::now();
        let mut queue = queue(&["a", "b", "c"]);
        let tickets: Vec<_> = (0..3).map(|_| take(&mut queue, now)).collect();
        for ticket in tickets {
            queue.settle(
                ticket,
                Settlement::RefusedForNow { come_back_in: None },
                now,
            );
        }
        let later = now + Duration::from_secs(1);
        let order: Vec<_> = (0..3).map(|_| take(&mut queue, later).item).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[test]
    fn who_waits_alone_says_until_when() {
        let now = Instant::now();
        let mut queue = queue(&["a"]);
        let first = take(&mut queue, now);
        let settlement = Settlement::ReturnedForNow {
            come_back_in: Some(Duration::from_secs(2)),
            delivery: 1,
        };
        queue.settle(first, settlement, now);
        assert_eq!(queue.next(now), Turn::Wait(now + Duration::from_secs(2)));
        let again = take(&mut queue, now + Duration::from_secs(2));
        assert_eq!(
            again.numbers,
            Numbers {
                attempt: 2,
                delivery: 1,
                retries_used: 0
            }
        );
    }

    #[test]
    fn an_item_that_nothing_was_learned_about_keeps_its_retries() {
        let now = Instant::now();
        let mut queue = queue(&["a"]);
        let first = take(&mut queue, now);
        queue.settle(first, Settlement::Returned { delivery: 2 }, now);
        let again = take(&mut queue, now);
        assert_eq!(
            again.numbers,
            Numbers {
                attempt: 2,
                delivery: 2,
                retries_used: 0
            }
        );
        assert_eq!(queue.settle(again, Settlement::Over, now), Transition::Out);
        assert_eq!(queue.next(now), Turn::Empty);
    }

    #[test]
    fn an_absurd_delay_is_no_trap() {
        let now = Instant::now();
        let mut queue = queue(&["a"]);
        let first = take(&mut queue, now);
        let settlement = Settlement::RefusedForNow {
            come_back_in: Some(Duration::MAX),
        };
        queue.settle(first, settlement, now);
        assert_eq!(take(&mut queue, now).item, "a");
    }
}
