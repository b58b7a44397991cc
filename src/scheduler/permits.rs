//! Admission: how many bytes of requests may be in flight, per connection, per export and in total.
//!
//! A request costs its payload (in either direction) plus [`REQUEST_COST`], so a bound on cost bounds the number of
//! requests as well. Full means that the connection stops reading its socket: never an error, never growth. To keep
//! shared counters off the path of small requests, a connection takes cost in quanta and gives all of it back when
//! it has nothing in flight.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cost of a request beyond its payload, in bytes: its slot, its headers, and a weight that bounds their number.
pub const REQUEST_COST: u32 = 512;
/// Least cost that a connection takes from the shared budgets at once, in bytes.
const QUANTUM: u32 = 256 << 10;
/// Most unused cost that a connection keeps while it sleeps with requests in flight, in bytes.
const KEPT: u32 = 2 * QUANTUM;

/// A shared budget in bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    limit: u32,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(limit as usize)), limit }
    }

    /// Bytes that nobody holds.
    pub fn available(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// The whole budget in bytes.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

type Acquire = Pin<Box<dyn Future<Output = [OwnedSemaphorePermit; 2]> + Send>>;

/// What one connection holds of its export's budget and of the total.
pub struct Permits {
    export: Budget,
    total: Budget,
    /// Most that this connection may use at once, in bytes.
    limit: u32,
    /// Taken from the shared budgets.
    held: u32,
    /// Part of `held` that requests use now.
    used: u32,
    /// Of the export's budget and of the total.
    shares: Option<[OwnedSemaphorePermit; 2]>,
    waiting: Option<(u32, Acquire)>,
}

impl Permits {
    /// Nothing held yet. `limit` is cut to what the budgets could ever give.
    pub fn new(export: Budget, total: Budget, limit: u32) -> Self {
        let limit = limit.min(export.limit).min(total.limit);
        Self { export, total, limit, held: 0, used: 0, shares: None, waiting: None }
    }

    /// The largest cost a single request may have.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Reserves `cost` for a request. Pending without a wake-up of its own if this connection's limit is reached:
    /// the end of one of its requests is the wake-up. Pending with a wake-up if a shared budget is exhausted.
    pub fn poll_take(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        assert!(cost <= self.limit, "a request of cost {cost} can never be admitted under {}", self.limit);
        if cost > self.limit - self.used {
            return Poll::Pending;
        }
        if self.used + cost > self.held {
            std::task::ready!(self.poll_grow(cost, cx));
        }
        self.used += cost;
        Poll::Ready(())
    }

    /// Gives back the cost of a request. What is held stays until [`Permits::rest`].
    pub fn give(&mut self, cost: u32) {
        assert!(cost <= self.used, "more cost given back than taken");
        self.used -= cost;
        if self.waiting.is_some() {
            self.shrink();
        }
    }

    /// Gives what is unused back to the shared budgets; called when the connection goes to sleep. One that has
    /// requests in flight keeps a little, so as not to come back for each of them.
    pub fn rest(&mut self) {
        if self.used == 0 || self.held - self.used > KEPT {
            self.shrink();
        }
    }

    fn poll_grow(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            let least = self.used + cost - self.held;
            let quantum = least.max(QUANTUM.min(self.limit - self.held));
            if let Some(permits) = self.try_acquire(quantum).or_else(|| self.try_acquire(least)) {
                self.hold(permits);
                return Poll::Ready(());
            }
            // Who waits keeps nothing that is not in use, else two connections could wait for each other.
            self.shrink();
            let (export, total) = (self.export.semaphore.clone(), self.total.semaphore.clone());
            let acquire = async move {
                let closed = "budgets are never closed";
                // Always export before total, for the same reason.
                let export = export.acquire_many_owned(cost).await.expect(closed);
                [export, total.acquire_many_owned(cost).await.expect(closed)]
            };
            self.waiting = Some((cost, Box::pin(acquire)));
        }
        let (granted, acquire) = self.waiting.as_mut().expect("set above");
        let granted = *granted;
        assert_eq!(granted, cost, "the request that waits is the one that asks");
        let permits = std::task::ready!(acquire.as_mut().poll(cx));
        self.waiting = None;
        self.hold((granted, permits));
        Poll::Ready(())
    }

    fn try_acquire(&self, amount: u32) -> Option<(u32, [OwnedSemaphorePermit; 2])> {
        let export = self.export.semaphore.clone().try_acquire_many_owned(amount).ok()?;
        let total = self.total.semaphore.clone().try_acquire_many_owned(amount).ok()?;
        Some((amount, [export, total]))
    }

    fn hold(&mut self, (amount, new): (u32, [OwnedSemaphorePermit; 2])) {
        self.held += amount;
        match &mut self.shares {
            Some(held) => held.iter_mut().zip(new).for_each(|(held, new)| held.merge(new)),
            none => *none = Some(new),
        }
    }

    /// Drops what is held beyond what is used.
    fn shrink(&mut self) {
        let unused = self.held - self.used;
        if unused == 0 {
            return;
        }
        if let Some(shares) = &mut self.shares {
            for permit in shares {
                drop(permit.split(unused as usize));
            }
        }
        self.held = self.used;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn take(permits: &mut Permits, cost: u32) -> bool {
        permits.poll_take(cost, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_full_connection_waits_and_the_budgets_get_everything_back() {
        let (export, total) = (Budget::new(1 << 20), Budget::new(8 << 20));
        let mut permits = Permits::new(export.clone(), total.clone(), 512 << 10);
        assert!(take(&mut permits, 300 << 10));
        assert!(!take(&mut permits, 300 << 10), "over the connection's limit");
        permits.give(300 << 10);
        assert!(take(&mut permits, 300 << 10));
        permits.give(300 << 10);
        permits.rest();
        assert_eq!((export.available(), total.available()), (1 << 20, 8 << 20));
    }

    #[test]
    fn two_connections_that_wait_for_a_shared_budget_never_wait_for_each_other() {
        let (export, total) = (Budget::new(1 << 20), Budget::new(1 << 20));
        let mut a = Permits::new(export.clone(), total.clone(), u32::MAX);
        let mut b = Permits::new(export.clone(), total.clone(), u32::MAX);
        assert!(take(&mut a, 600 << 10));
        assert!(take(&mut b, 300 << 10));
        assert!(!take(&mut a, 400 << 10));
        assert!(!take(&mut b, 700 << 10));
        a.give(600 << 10);
        assert!(take(&mut a, 400 << 10), "what b does not use is not kept from a");
        a.give(400 << 10);
        a.rest();
        b.give(300 << 10);
        assert!(take(&mut b, 700 << 10));
    }
}
