//! How others steer a running watch: it rests while its endpoint is in maintenance, asks sooner after a failed request,
//! and ends when its [`Steer`] is dropped.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Steers one watch. Dropped: the watch ends, even within a question.
#[derive(Debug)]
pub struct Steer {
    rests: watch::Sender<bool>,
    failed: Arc<Notify>,
}

/// The watch's end of a [`Steer`].
#[derive(Debug)]
pub struct Steered {
    rests: watch::Receiver<bool>,
    failed: Arc<Notify>,
}

/// A new pair. The watch starts awake.
pub fn steer() -> (Steer, Steered) {
    let (sender, receiver) = watch::channel(false);
    let failed = Arc::new(Notify::new());
    (Steer { rests: sender, failed: failed.clone() }, Steered { rests: receiver, failed })
}

impl Steer {
    /// True: ask nothing until further notice (maintenance). False: go on, with a check at once; what the engine is, is
    /// then found out anew. Saying the same twice changes nothing.
    pub fn rest(&self, on: bool) {
        self.rests.send_if_modified(|rests| std::mem::replace(rests, on) != on);
    }

    /// A request failed there: the next check is due within `fast_every`.
    pub fn request_failed(&self) {
        self.failed.notify_one();
    }
}

impl Steered {
    /// What tells of failed requests.
    pub(super) fn failures(&self) -> Arc<Notify> {
        self.failed.clone()
    }

    /// Waits while the watch is to rest. False: it is to end.
    pub(super) async fn awake(&mut self) -> bool {
        self.rests.wait_for(|rests| !rests).await.is_ok()
    }

    /// Waits until the watch is to rest. False: it is to end.
    pub(super) async fn resting(&mut self) -> bool {
        self.rests.wait_for(|rests| *rests).await.is_ok()
    }
}
