//! A value that many wait on, who hear of its changes in the order in which they began to wait.
//!
//! A plain watch channel wakes its receivers in an order that chance decides, with which no history
//! could be played again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A value that changes.
#[derive(Debug)]
pub(crate) struct Signal<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    present: Mutex<(u64, T)>,
    changed: Notify,
}

/// Hears when a value changes.
#[derive(Debug)]
pub(crate) struct Listener<T> {
    inner: Arc<Inner<T>>,
    seen: u64,
}

impl<T: Clone> Inner<T> {
    fn get(&self) -> (u64, T) {
        let present = self.present.lock();
        present.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Inner {
            present: Mutex::new((0, value)),
            changed: Notify::new(),
        }))
    }

    /// The value.
    pub(crate) fn get(&self) -> T {
        self.0.get().1
    }

    /// Puts another value in its place.
    pub(crate) fn set(&self, value: T) {
        let present = self.0.present.lock();
        let mut present = present.unwrap_or_else(PoisonError::into_inner);
        *present = (present.0 + 1, value);
        drop(present);
        self.0.changed.notify_waiters();
    }

    /// Hears of changes from now on.
    pub(crate) fn listen(&self) -> Listener<T> {
        Listener {
            seen: self.0.get().0,
            inner: Arc::clone(&self.0),
        }
    }
}

impl<T: Clone> Listener<T> {
    /// The value, of which the next change is waited for from now on.
    pub(crate) fn get(&mut self) -> T {
        let (version, value) = self.inner.get();
        self.seen = version;
        value
    }

    /// Waits until the value is another than the one seen last. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let version = self.inner.get().0;
            if version != self.seen {
                self.seen = version;
                return;
            }
            changed.await;
        }
    }

    /// Waits until the value is one of those, and returns it.
    pub(crate) async fn wait_for(&mut self, is_so: impl Fn(&T) -> bool) -> T {
        loop {
            let value = self.get();
            if is_so(&value) {
                return value;
            }
            self.changed().await;
        }
    }
}
