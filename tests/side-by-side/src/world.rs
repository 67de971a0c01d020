//! What all cases share: the programs, the seed, how long to take, and both sides of a case at once.

use crate::proxy::{Programs, Side};
use crate::setup::Setup;
use crate::stage::Stage;

/// What all cases share.
#[derive(Clone, Debug)]
pub struct World {
    /// Where the proxies are.
    pub programs: Programs,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// Fewer keys and shorter ramps.
    pub short: bool,
}

impl World {
    /// Drives both sides with the same script, at the same time: HAProxy's outcome and ours.
    pub async fn both<T>(
        &self,
        setup: &Setup,
        drive: impl AsyncFn(&mut Stage) -> anyhow::Result<T>,
    ) -> anyhow::Result<[T; 2]> {
        let (theirs, ours) =
            tokio::join!(self.one(Side::HAProxy, setup, &drive), self.one(Side::Arriero, setup, &drive));
        // ours first: that it does not know the set-up says more than what follows from it
        let ours = ours?;
        Ok([theirs?, ours])
    }

    /// Drives one side alone.
    pub async fn one<T>(
        &self,
        side: Side,
        setup: &Setup,
        drive: impl AsyncFn(&mut Stage) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut stage = Stage::start(side, &self.programs, setup).await?;
        drive(&mut stage).await
    }

    /// A generator of its own for a case; the same for both sides.
    pub fn random(&self, case: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ case)
    }
}
