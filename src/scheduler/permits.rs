//! Admission: how many bytes of requests may be in flight, per connection, per export and in total.
//!
//! A request costs its payload (in either direction) plus [`REQUEST_COST`], so a bound on cost bounds the number of
//! requests as well. Full means that the connection stops reading its socket: never an error, never growth. To keep
//! shared counters off the path of small requests, a connection takes cost in quanta and gives all of it back when
//! it has nothing in flight.
//!
//! Clients that never read their replies must not starve the others. So a connection that has something in flight may
//! hold no more than what it leaves free (the dynamic threshold of shared switch buffers: Choudhury and Hahne, IEEE/ACM
//! Transactions on Networking 6(2), 1998), and one that has nothing in flight may always have one request of up to
//! 64 KiB, for which nothing is taken from the shared budgets: a cost per connection, as its buffers are.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// Cost of a request beyond its payload, in bytes: its slot, its headers, and a weight that bounds their number.
pub const REQUEST_COST: u32 = 512;
/// Least cost that a connection takes from the shared budgets at once, in bytes.
const QUANTUM: u32 = 256 << 10;
/// Most unused cost that a connection keeps while it sleeps with requests in flight, in bytes.
const KEPT: u32 = 2 * QUANTUM;
/// The cost up to which a connection's only request is always admitted, in bytes.
const DOOR: u32 = (64 << 10) + REQUEST_COST;

/// A shared budget in bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    state: Arc<Mutex<State>>,
    limit: u32,
}

#[derive(Debug)]
struct State {
    available: u32,
    /// Of connections with nothing in flight that found too little.
    waiting: Vec<Waker>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self { state: Arc::new(Mutex::new(State { available: limit, waiting: Vec::new() })), limit }
    }

    /// Bytes that nobody holds.
    pub fn available(&self) -> u32 {
        self.state.lock().available
    }

    /// The whole budget in bytes.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn give(&self, amount: u32) {
        let waiting = {
            let mut state = self.state.lock();
            state.available += amount;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn wake_later(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

/// What one connection holds of its export's budget and of the total.
#[derive(Debug)]
pub struct Permits {
    export: Budget,
    total: Budget,
    /// Most that this connection may use at once, in bytes.
    limit: u32,
    /// Taken from both shared budgets.
    held: u32,
    /// Part of `held` that requests use now.
    used: u32,
    /// Cost of requests that came through the door.
    unpaid: u32,
}

impl Permits {
    /// Nothing held yet. `limit` is cut to what the budgets could ever give.
    pub fn new(export: Budget, total: Budget, limit: u32) -> Self {
        let limit = limit.min(export.limit).min(total.limit);
        Self { export, total, limit, held: 0, used: 0, unpaid: 0 }
    }

    /// The largest cost a single request may have.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Reserves `cost` for a request. Where the connection has something in flight, pending comes without a wake-up
    /// of its own: the end of one of its requests is the wake-up. Otherwise the shared budgets wake it.
    pub fn poll_take(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        assert!(cost <= self.limit, "a request of cost {cost} can never be admitted under {}", self.limit);
        if cost > self.limit - self.used {
            return Poll::Pending;
        }
        if self.used + cost <= self.held || self.grow(cost, cx) {
            self.used += cost;
        } else if self.is_idle() && cost <= DOOR {
            self.unpaid = cost;
        } else {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Gives back the cost of a request. What is held stays until [`Permits::rest`].
    pub fn give(&mut self, cost: u32) {
        assert!(cost <= self.used + self.unpaid, "more cost given back than taken");
        let unpaid = cost.min(self.unpaid);
        self.unpaid -= unpaid;
        self.used -= cost - unpaid;
    }

    /// Gives what is unused back to the shared budgets; called when the connection goes to sleep. One that has
    /// requests in flight keeps a little, so as not to come back for each of them.
    pub fn rest(&mut self) {
        if self.is_idle() || self.held - self.used > KEPT {
            self.shrink();
        }
    }

    fn is_idle(&self) -> bool {
        self.used == 0 && self.unpaid == 0
    }

    /// Takes what `cost` needs beyond what is held, with something in reserve if there is enough.
    fn grow(&mut self, cost: u32, cx: &mut Context<'_>) -> bool {
        let least = self.used + cost - self.held;
        let quantum = least.max(QUANTUM.min(self.limit - self.held));
        let taken = {
            // Always export before total.
            let (mut export, mut total) = (self.export.state.lock(), self.total.state.lock());
            let free = export.available.min(total.available);
            let may = |amount: u32| amount <= free && (self.is_idle() || self.held + amount <= free);
            let taken = [quantum, least].into_iter().find(|amount| may(*amount));
            match taken {
                Some(amount) => {
                    export.available -= amount;
                    total.available -= amount;
                }
                None if self.is_idle() && cost > DOOR => {
                    export.wake_later(cx.waker());
                    total.wake_later(cx.waker());
                }
                None => {}
            }
            taken
        };
        match taken {
            Some(amount) => self.held += amount,
            // Who waits keeps nothing that is not in use, else two connections could wait for each other.
            None => self.shrink(),
        }
        taken.is_some()
    }

    /// Gives back what is held beyond what is used.
    fn shrink(&mut self) {
        let unused = self.held - self.used;
        if unused > 0 {
            self.held = self.used;
            self.export.give(unused);
            self.total.give(unused);
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.used = 0;
        self.shrink();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        task::Wake,
    };

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
        b.give(300 << 10);
        assert!(!take(&mut b, 700 << 10));
        a.give(600 << 10);
        assert!(take(&mut a, 400 << 10), "what b does not use is not kept from a");
        a.give(400 << 10);
        a.rest();
        assert!(take(&mut b, 700 << 10));
    }

    #[test]
    fn clients_that_never_give_back_leave_room_for_one_more() {
        let (export, total) = (Budget::new(192 << 20), Budget::new(256 << 20));
        let mut hogs: Vec<_> = (0..100).map(|_| Permits::new(export.clone(), total.clone(), 80 << 20)).collect();
        for hog in &mut hogs {
            while take(hog, 64 << 10) {}
        }
        for _ in 0..100 {
            let mut modest = Permits::new(export.clone(), total.clone(), 80 << 20);
            assert!(take(&mut modest, 64 << 10));
            assert!(!take(&mut modest, 64 << 10), "one at a time");
        }
        drop(hogs);
        assert_eq!((export.available(), total.available()), (192 << 20, 256 << 20));
    }

    #[test]
    fn who_has_nothing_in_flight_is_woken_when_something_is_given_back() {
        let (export, total) = (Budget::new(1 << 20), Budget::new(1 << 20));
        let mut a = Permits::new(export.clone(), total.clone(), u32::MAX);
        let mut b = Permits::new(export, total, u32::MAX);
        assert!(take(&mut a, 1 << 20));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(b.poll_take(1 << 20, &mut Context::from_waker(&waker)).is_pending());
        a.give(1 << 20);
        assert!(!woken.0.load(Relaxed), "what a holds is still its own");
        a.rest();
        assert!(woken.0.load(Relaxed));
        assert!(take(&mut b, 1 << 20));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
}
