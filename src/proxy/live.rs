//! Counts the requests that are being served, so that a draining process knows when the last one ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The count, shared.
#[derive(Debug, Default)]
pub struct Live {
    count: AtomicU64,
    draining: AtomicBool,
    idle: Notify,
}

/// One live request; leaves the count on drop.
#[derive(Debug)]
pub struct LiveRequest(Arc<Live>);

impl Live {
    /// One request more.
    pub fn enter(self: &Arc<Self>) -> LiveRequest {
        self.count.fetch_add(1, Ordering::AcqRel);
        LiveRequest(self.clone())
    }

    /// Requests being served.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// From now on the process takes leave: connections are not kept alive, `/ready` says no.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// True once the process takes leave.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Returns when no request is being served.
    pub async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for LiveRequest {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
