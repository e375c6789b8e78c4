//! A value that many wait to see changed.
//!
//! As tokio's `watch`, but those who wait are woken in the order in which they came, where `watch` draws lots between several
//! queues: a simulation could not replay which of two answers left first. Deliberately not here: telling that nobody will
//! change it any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value, for those who change it.
#[derive(Debug)]
pub struct Watched<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// Counts changes.
    version: u64,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The value is plain data: a change that panics half-way leaves it as good as any other.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Watched(Arc::clone(&self.0))
    }
}

impl<T> Watched<T> {
    /// A value that nobody waits for yet.
    #[must_use]
    pub fn new(value: T) -> Watched<T> {
        Watched(Arc::new(Shared { state: Mutex::new(State { value, version: 0 }), changed: Notify::new() }))
    }

    /// Changes it, and wakes all who wait.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        {
            let mut state = self.0.lock();
            change(&mut state.value);
            state.version += 1;
        }
        self.0.changed.notify_waiters();
    }

    /// Puts another in its place, and wakes all who wait.
    pub fn set(&self, value: T) {
        self.change(|old| *old = value);
    }

    /// A view of its own for somebody who waits.
    #[must_use]
    pub fn watch(&self) -> Watcher<T> {
        let seen = self.0.lock().version;
        Watcher { shared: Arc::clone(&self.0), seen }
    }
}

/// One who waits for changes.
#[derive(Debug)]
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Watcher { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T: Clone> Watcher<T> {
    /// The value of the moment, which counts as seen.
    pub fn look(&mut self) -> T {
        let state = self.shared.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits until it has changed since the last look; that is no look yet. Cancel safe.
    pub async fn changed(&self) {
        self.wait(|state| (state.version != self.seen).then_some(())).await;
    }

    /// Waits until the value is as wanted. Cancel safe.
    pub async fn wait_for(&self, wanted: impl Fn(&T) -> bool) -> T {
        self.wait(|state| wanted(&state.value).then(|| state.value.clone())).await
    }

    /// Waits until there is what is looked for.
    async fn wait<R>(&self, find: impl Fn(&State<T>) -> Option<R>) -> R {
        loop {
            // Enlisted before the look, so that a change between the two is not missed.
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = find(&self.shared.lock());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_change_is_seen_once_by_each_who_waits() {
        let value = Watched::new(1);
        let (mut one, other) = (value.watch(), value.watch());
        assert_eq!(now_or_never(one.changed()), None);
        value.set(2);
        assert_eq!(now_or_never(one.changed()), Some(()));
        assert_eq!(now_or_never(one.changed()), Some(()), "to be told of it is not to have looked");
        assert_eq!(one.look(), 2);
        assert_eq!(now_or_never(one.changed()), None);
        assert_eq!(now_or_never(other.changed()), Some(()));
    }

    #[test]
    fn a_value_that_is_there_already_is_not_waited_for() {
        let value = Watched::new(1);
        assert_eq!(now_or_never(value.watch().wait_for(|v| *v == 1)), Some(1));
        assert_eq!(now_or_never(value.watch().wait_for(|v| *v == 2)), None);
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (value, woken) = (Watched::new(0), Arc::new(Mutex::new(Vec::new())));
        let waiters: Vec<_> = (0..20)
            .map(|at| {
                let (watcher, woken) = (value.watch(), Arc::clone(&woken));
                tokio::spawn(async move {
                    watcher.wait_for(|v| *v == 1).await;
                    woken.lock().unwrap().push(at);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        value.set(1);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
