//! The driver as a tenant of the memory of the process.

use std::sync::{Arc, Weak};

use super::Driver;
use crate::{engine::Event, memory::Tenant};

/// Has the driver told when memory moves. What it does then it does as a task of its own: the caller is another disk.
pub(super) fn attend(driver: &Arc<Driver>) {
    let Some(share) = &driver.share else { return };
    let driver: Weak<Driver> = Arc::downgrade(driver);
    share.attend(driver);
}

/// A driver is reached through itself, because its tasks hold it.
impl Tenant for Driver {
    fn memory_moved(self: Arc<Self>) {
        let driver = Arc::clone(&self);
        self.spawn(async move { driver.event(Event::Memory) });
    }
}
