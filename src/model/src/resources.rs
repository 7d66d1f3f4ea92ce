//! How much of a machine there is, how much is taken, and whether more fits.
//!
//! All arithmetic saturates: a machine that lost a disk or had its slots reduced while items run
//! has nothing free, never a wrapped number.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use crate::ids::AttemptId;

/// Amounts of what items consume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Places for items.
    pub slots: u32,
    /// CPU time, in thousandths of one CPU.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Disk space for the item's directories, in bytes.
    pub disk_bytes: u64,
}

/// The least memory that can be asked for, in bytes: no program starts in less.
pub const MIN_MEMORY_BYTES: u64 = 1 << 20;

/// The least CPU that can be asked for, in thousandths of one CPU.
pub const MIN_CPU_MILLIS: u64 = 10;

/// What a work item asks for: reserved for it, and the limit that it is held to where the machine
/// can. What it does not name it neither reserves nor is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourcesWanted {
    /// Places; 1 unless said otherwise.
    pub slots: NonZeroU32,
    /// CPU, in thousandths of one CPU; requests give at least [`MIN_CPU_MILLIS`].
    pub cpu_millis: Option<NonZeroU64>,
    /// Memory, in bytes; requests give at least [`MIN_MEMORY_BYTES`].
    pub memory_bytes: Option<NonZeroU64>,
    /// Disk space, in bytes.
    pub disk_bytes: Option<NonZeroU64>,
    /// How many processes and threads it may have at once. A limit only, nothing is reserved.
    pub processes: Option<NonZeroU32>,
}

/// One kind of resource, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Places for items.
    Slots,
    /// CPU, in thousandths of one CPU.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Disk space, in bytes.
    Disk,
}

/// More wanted than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// Of what.
    pub kind: ResourceKind,
    /// How much is wanted, in the unit of `kind`.
    pub wanted: u64,
    /// How much there is, in the same unit.
    pub available: u64,
}

impl Default for ResourcesWanted {
    fn default() -> Self {
        Self {
            slots: NonZeroU32::MIN,
            cpu_millis: None,
            memory_bytes: None,
            disk_bytes: None,
            processes: None,
        }
    }
}

impl ResourcesWanted {
    /// What would be reserved; nothing for what is not named.
    #[must_use]
    pub fn amounts(&self) -> Resources {
        Resources {
            slots: self.slots.get(),
            cpu_millis: self.cpu_millis.map_or(0, NonZeroU64::get),
            memory_bytes: self.memory_bytes.map_or(0, NonZeroU64::get),
            disk_bytes: self.disk_bytes.map_or(0, NonZeroU64::get),
        }
    }
}

impl Resources {
    /// The sum, each amount at most its type's largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_add(other.slots),
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }

    /// The difference, each amount at least zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_sub(other.slots),
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(other.disk_bytes),
        }
    }

    /// The smaller of each amount. Joins what is not reserved with what the system measures as
    /// free.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            slots: self.slots.min(other.slots),
            cpu_millis: self.cpu_millis.min(other.cpu_millis),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            disk_bytes: self.disk_bytes.min(other.disk_bytes),
        }
    }

    /// Every kind of which `wanted` is more than this, in the order slots, CPU, memory, disk.
    #[must_use]
    pub fn shortfalls(&self, wanted: &Self) -> Vec<Shortfall> {
        [
            (
                ResourceKind::Slots,
                u64::from(wanted.slots),
                u64::from(self.slots),
            ),
            (ResourceKind::Cpu, wanted.cpu_millis, self.cpu_millis),
            (ResourceKind::Memory, wanted.memory_bytes, self.memory_bytes),
            (ResourceKind::Disk, wanted.disk_bytes, self.disk_bytes),
        ]
        .into_iter()
        .filter(|(_, wanted, available)| wanted > available)
        .map(|(kind, wanted, available)| Shortfall {
            kind,
            wanted,
            available,
        })
        .collect()
    }
}

/// Who has reserved what of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    total: Resources,
    reservations: BTreeMap<AttemptId, Resources>,
}

/// Why nothing was reserved. The ledger is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// The attempt has a reservation already.
    #[error("attempt `{attempt}` has a reservation already")]
    AlreadyReserved {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Not enough is free.
    #[error("not enough is free on this machine")]
    Short {
        /// Everything that is short; never empty.
        shortfalls: Vec<Shortfall>,
    },
}

impl Ledger {
    /// An empty ledger of a machine.
    #[must_use]
    pub fn new(total: Resources) -> Self {
        Self {
            total,
            reservations: BTreeMap::new(),
        }
    }

    /// All there is.
    #[must_use]
    pub fn total(&self) -> Resources {
        self.total
    }

    /// Notes that the machine has more or less than before. Reservations stay.
    pub fn set_total(&mut self, total: Resources) {
        self.total = total;
    }

    /// All that is reserved.
    #[must_use]
    pub fn reserved(&self) -> Resources {
        self.reservations
            .values()
            .fold(Resources::default(), |sum, amount| sum.plus(*amount))
    }

    /// All that is not reserved.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.total.minus(self.reserved())
    }

    /// What an attempt has reserved.
    #[must_use]
    pub fn reservation(&self, attempt: &AttemptId) -> Option<Resources> {
        self.reservations.get(attempt).copied()
    }

    /// The attempts with a reservation, in the order of their ids.
    pub fn attempts(&self) -> impl Iterator<Item = (&AttemptId, Resources)> {
        self.reservations
            .iter()
            .map(|(attempt, amount)| (attempt, *amount))
    }

    /// What would be short if `wanted` were reserved now; empty if it fits.
    #[must_use]
    pub fn shortfalls(&self, wanted: &Resources) -> Vec<Shortfall> {
        self.free().shortfalls(wanted)
    }

    /// Reserves for an attempt if everything fits.
    ///
    /// # Errors
    ///
    /// The attempt has a reservation, or something is short.
    pub fn reserve(&mut self, attempt: AttemptId, wanted: Resources) -> Result<(), ReserveError> {
        if self.reservations.contains_key(&attempt) {
            return Err(ReserveError::AlreadyReserved { attempt });
        }
        let shortfalls = self.shortfalls(&wanted);
        if !shortfalls.is_empty() {
            return Err(ReserveError::Short { shortfalls });
        }
        self.reservations.insert(attempt, wanted);
        Ok(())
    }

    /// Takes up a reservation that exists in fact, such as that of an item found running after a
    /// restart, whether or not it fits.
    pub fn adopt(&mut self, attempt: AttemptId, amount: Resources) {
        self.reservations.insert(attempt, amount);
    }

    /// Gives back what an attempt had reserved, and says what that was.
    pub fn release(&mut self, attempt: &AttemptId) -> Option<Resources> {
        self.reservations.remove(attempt)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::attempt;

    fn resources(slots: u32, cpu_millis: u64, memory_bytes: u64, disk_bytes: u64) -> Resources {
        Resources {
            slots,
            cpu_millis,
            memory_bytes,
            disk_bytes,
        }
    }

    #[test]
    fn unnamed_resources_are_not_reserved() {
        assert_eq!(ResourcesWanted::default().amounts(), resources(1, 0, 0, 0));
        let nothing_but_a_slot = Resources {
            slots: 1,
            ..Resources::default()
        };
        assert!(
            nothing_but_a_slot
                .shortfalls(&ResourcesWanted::default().amounts())
                .is_empty()
        );
    }

    #[test]
    fn everything_that_is_short_is_named_in_order() {
        let free = resources(1, 1000, 10, 10);
        let short = free.shortfalls(&resources(2, 1000, 11, u64::MAX));
        let kinds: Vec<_> = short
            .iter()
            .map(|s| (s.kind, s.wanted, s.available))
            .collect();
        let expected = [
            (ResourceKind::Slots, 2, 1),
            (ResourceKind::Memory, 11, 10),
            (ResourceKind::Disk, u64::MAX, 10),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn attempt_reserves_once_and_gives_back_what_it_had() {
        let mut ledger = Ledger::new(resources(2, 0, 100, 0));
        let wanted = resources(1, 0, 60, 0);
        assert_eq!(ledger.reserve(attempt("a"), wanted), Ok(()));
        let again = ReserveError::AlreadyReserved {
            attempt: attempt("a"),
        };
        assert_eq!(ledger.reserve(attempt("a"), wanted), Err(again));
        let memory = Shortfall {
            kind: ResourceKind::Memory,
            wanted: 60,
            available: 40,
        };
        let short = ReserveError::Short {
            shortfalls: vec![memory],
        };
        assert_eq!(ledger.reserve(attempt("b"), wanted), Err(short));
        assert_eq!(ledger.release(&attempt("a")), Some(wanted));
        assert_eq!(ledger.release(&attempt("a")), None);
        assert_eq!(ledger.free(), ledger.total());
    }

    #[test]
    fn machine_that_shrank_has_nothing_free_rather_than_a_wrapped_number() {
        let mut ledger = Ledger::new(resources(4, 4000, 100, 100));
        ledger.adopt(
            attempt("a"),
            resources(u32::MAX, u64::MAX, u64::MAX, u64::MAX),
        );
        ledger.adopt(
            attempt("b"),
            resources(u32::MAX, u64::MAX, u64::MAX, u64::MAX),
        );
        assert_eq!(ledger.free(), Resources::default());
        assert_eq!(
            ledger.reservation(&attempt("b")).map(|amount| amount.slots),
            Some(u32::MAX)
        );
        assert_eq!(ledger.attempts().count(), 2);
    }

    fn any_resources() -> impl Strategy<Value = Resources> {
        let amount = || prop_oneof![8 => 0_u64..8, 1 => Just(u64::MAX)];
        (0_u32..5, amount(), amount(), amount()).prop_map(|(s, c, m, d)| resources(s, c, m, d))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve(u8, Resources),
        Release(u8),
        SetTotal(Resources),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..6, any_resources()).prop_map(|(who, amount)| Step::Reserve(who, amount)),
            4 => (0_u8..6).prop_map(Step::Release),
            1 => any_resources().prop_map(Step::SetTotal),
        ]
    }

    proptest! {
        #[test]
        fn reservations_never_exceed_the_machine_they_were_made_on(
            total in any_resources(), steps in prop::collection::vec(any_step(), 0..40),
        ) {
            let mut ledger = Ledger::new(total);
            for step in steps {
                let before = ledger.clone();
                match step {
                    Step::Reserve(who, amount) => {
                        let id = attempt(&format!("a{who}"));
                        match ledger.reserve(id.clone(), amount) {
                            Ok(()) => {
                                prop_assert!(before.free().shortfalls(&amount).is_empty());
                                prop_assert_eq!(ledger.free().plus(amount), before.free());
                                prop_assert_eq!(ledger.reservation(&id), Some(amount));
                            }
                            Err(_) => prop_assert_eq!(&ledger, &before),
                        }
                    }
                    Step::Release(who) => {
                        let id = attempt(&format!("a{who}"));
                        prop_assert_eq!(ledger.release(&id), before.reservation(&id));
                        prop_assert_eq!(ledger.reservation(&id), None);
                    }
                    Step::SetTotal(total) => {
                        ledger.set_total(total);
                        prop_assert_eq!(ledger.reserved(), before.reserved());
                    }
                }
                prop_assert_eq!(ledger.free().least(ledger.total()), ledger.free());
            }
        }

        #[test]
        fn arithmetic_saturates(a in any_resources(), b in any_resources()) {
            let sum = a.plus(b);
            prop_assert_eq!(sum.least(a), a);
            prop_assert_eq!(a.minus(b).least(a), a.minus(b));
            prop_assert_eq!(a.shortfalls(&b).is_empty(), a.least(b) == b);
        }
    }
}
