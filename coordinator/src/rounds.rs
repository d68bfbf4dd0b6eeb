//! Has the lanes that an order's answer waits for (a PREPARE lane for each participant, the staging of its record) set out
//! together, as long as all of them are quick.
//!
//! An order is answered when the slowest of them has answered, so a quick one wins nothing by going twice meanwhile: its
//! batches are half as large, and what a batch costs is paid twice. A lane goes once a round; when it has been
//! answered it waits for those that are still under way. Never for long: one that is slow or silent must not hold up the
//! others.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a lane waits for the others, at most.
const PATIENCE: Duration = Duration::from_millis(10);

/// The round that all lanes are in; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Rounds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    current: Mutex<Current>,
    returned: Notify,
}

#[derive(Debug, Default)]
struct Current {
    round: u64,
    under_way: usize,
}

impl Rounds {
    /// Waits until a lane that has gone in round `gone` may go again.
    pub async fn join(&self, gone: u64) -> UnderWay {
        let until = Instant::now() + PATIENCE;
        loop {
            let returned = self.0.returned.notified();
            if let Some(under_way) = self.try_join(gone) {
                return under_way;
            }
            if tokio::time::timeout_at(until, returned).await.is_err() {
                return self.begin(self.0.lock());
            }
        }
    }

    fn try_join(&self, gone: u64) -> Option<UnderWay> {
        let mut current = self.0.lock();
        if gone < current.round {
            current.under_way += 1;
            return Some(UnderWay { round: current.round, rounds: self.0.clone() });
        }
        (current.under_way == 0).then(|| self.begin(current))
    }

    fn begin(&self, mut current: MutexGuard<'_, Current>) -> UnderWay {
        current.round += 1;
        current.under_way += 1;
        UnderWay { round: current.round, rounds: self.0.clone() }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane that is under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    /// In which round.
    pub round: u64,
    rounds: Arc<Inner>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.rounds.lock().under_way -= 1;
        self.rounds.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_quick_lane_waits_for_the_others_of_its_round() {
        let rounds = Rounds::default();
        let (quick, slow) = (rounds.join(0).await, rounds.join(0).await);
        assert_eq!(quick.round, slow.round);
        let gone = quick.round;
        drop(quick);
        let mut again = std::pin::pin!(rounds.join(gone));
        assert!((&mut again).now_or_never().is_none());
        drop(slow);
        assert_eq!(again.await.round, gone + 1);
    }

    #[tokio::test]
    async fn nobody_waits_long_for_a_silent_one() {
        let rounds = Rounds::default();
        let (quick, silent) = (rounds.join(0).await, rounds.join(0).await);
        let gone = quick.round;
        drop(quick);
        let began = Instant::now();
        let next = rounds.join(gone).await;
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!(next.round, gone + 1);
        drop((silent, next));
        assert_eq!(rounds.join(gone + 1).await.round, gone + 2);
    }
}
