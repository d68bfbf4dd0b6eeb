//! Has the lanes that an order's answer waits for (a PREPARE lane for each participant, the staging of its record) set out
//! together, as long as all of them are quick.
//!
//! An order is answered when the slowest of them has answered, so a quick one wins nothing by going twice meanwhile: its
//! batches are half as large, and what a batch costs is paid twice. A lane goes once a round; when it has been
//! answered it waits for those that are still under way. Never for long: one that is slow or silent must not hold up the
//! others.
//!
//! While one round is under way a second one sets out as soon as it is as large: participants then find it in their queue when they
//! have done the first, instead of waiting until the coordinator has answered the clients of the first and they have come back. A
//! smaller one would cost more than that saves.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// How long a lane waits for the others, at most.
const PATIENCE: Duration = Duration::from_millis(10);
/// A second round is never smaller: what a batch costs would be most of it.
const FEWEST: usize = 16;
/// So many calls of a lane are under way at most.
const FLIGHTS: usize = 2;

/// The round that all lanes are in; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Rounds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    current: Mutex<Current>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Current {
    round: u64,
    /// Lanes that are under way in this round,
    under_way: usize,
    /// and in those before it.
    before: usize,
    /// Orders that set out in this round, about,
    size: usize,
    /// and that wait for the next.
    waiting: usize,
}

impl Rounds {
    /// One more order waits for the lanes.
    pub fn order(&self) {
        let mut current = self.0.lock();
        current.waiting += 1;
        if current.begin_second() {
            self.0.changed.notify_waiters();
        }
    }

    /// The turns of one more lane.
    pub fn turns(&self) -> Turns {
        Turns { rounds: self.clone(), gone: 0, flights: JoinSet::new() }
    }

    /// Waits until a lane that has gone in round `gone` may go again.
    async fn join(&self, gone: u64) -> UnderWay {
        let until = Instant::now() + PATIENCE;
        loop {
            let changed = self.0.changed.notified();
            if let Some(under_way) = self.try_join(gone, true) {
                return under_way;
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return self.begin(self.0.lock());
            }
        }
    }

    /// Waits until a round has begun that comes after `gone`.
    async fn join_next(&self, gone: u64) -> UnderWay {
        loop {
            let changed = self.0.changed.notified();
            if let Some(under_way) = self.try_join(gone, false) {
                return under_way;
            }
            changed.await;
        }
    }

    fn try_join(&self, gone: u64, may_begin: bool) -> Option<UnderWay> {
        let mut current = self.0.lock();
        if gone < current.round {
            current.under_way += 1;
            return Some(UnderWay { round: current.round, rounds: self.0.clone() });
        }
        (may_begin && current.under_way + current.before == 0).then(|| self.begin(current))
    }

    fn begin(&self, mut current: MutexGuard<'_, Current>) -> UnderWay {
        current.begin();
        current.under_way += 1;
        UnderWay { round: current.round, rounds: self.0.clone() }
    }
}

impl Current {
    fn begin(&mut self) {
        self.round += 1;
        self.before += std::mem::take(&mut self.under_way);
        self.size = std::mem::take(&mut self.waiting);
    }

    /// Begins a second round, if there is one only and enough waits.
    fn begin_second(&mut self) -> bool {
        let may_begin = self.under_way > 0 && self.before == 0 && self.waiting >= self.size.max(FEWEST);
        if may_begin {
            self.begin();
        }
        may_begin
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane's turns in the rounds, and its calls that are under way.
#[derive(Debug)]
pub struct Turns {
    rounds: Rounds,
    /// The round in which it went last.
    gone: u64,
    flights: JoinSet<()>,
}

impl Turns {
    /// Waits until the lane may go.
    pub async fn may_go(&mut self) -> UnderWay {
        let under_way = loop {
            match self.flights.len() {
                0 => break self.rounds.join(self.gone).await,
                1..FLIGHTS => tokio::select! {
                    under_way = self.rounds.join_next(self.gone) => break under_way,
                    Some(ended) = self.flights.join_next() => went_well(ended),
                },
                _ => self.flights.join_next().await.map_or((), went_well),
            }
        };
        self.gone = under_way.round;
        under_way
    }

    /// Goes.
    pub fn go(&mut self, under_way: UnderWay, call: impl Future<Output = ()> + Send + 'static) {
        self.flights.spawn(async move {
            call.await;
            drop(under_way);
        });
    }

    /// Waits for all that is under way.
    pub async fn end(mut self) {
        while let Some(ended) = self.flights.join_next().await {
            went_well(ended);
        }
    }
}

/// A call that panics ends its lane.
fn went_well(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// A lane that is under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    round: u64,
    rounds: Arc<Inner>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut current = self.rounds.lock();
        match self.round == current.round {
            true => current.under_way -= 1,
            false => current.before -= 1,
        }
        current.begin_second();
        drop(current);
        self.rounds.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;

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

    /// Orders come; the lane goes with them until it is told to come back.
    async fn go(rounds: &Rounds, lane: &mut Turns, orders: usize) -> oneshot::Sender<()> {
        (0..orders).for_each(|_| rounds.order());
        let (back, until) = oneshot::channel();
        let under_way = lane.may_go().await;
        lane.go(under_way, async move { until.await.unwrap_or_default() });
        back
    }

    #[tokio::test]
    async fn a_second_round_sets_out_when_it_is_as_large_and_a_third_waits() {
        let rounds = Rounds::default();
        let (mut lane, mut other) = (rounds.turns(), rounds.turns());
        let first = go(&rounds, &mut lane, 40).await;
        let first_of_other = go(&rounds, &mut other, 0).await;
        assert_eq!((lane.gone, other.gone), (1, 1));
        (0..39).for_each(|_| rounds.order());
        assert!(lane.may_go().now_or_never().is_none(), "one less than in the first");
        rounds.order();
        let second = go(&rounds, &mut lane, 0).await;
        let second_of_other = go(&rounds, &mut other, 0).await;
        assert_eq!((lane.gone, other.gone), (2, 2));
        (0..1_000).for_each(|_| rounds.order());
        assert!(lane.may_go().now_or_never().is_none(), "two are under way");
        drop(first);
        let mut third = std::pin::pin!(lane.may_go());
        let waited = tokio::time::timeout(PATIENCE * 2, &mut third).await;
        assert!(waited.is_err(), "the other one's first is, still");
        drop(first_of_other);
        assert_eq!(third.await.round, 3);
        drop((second, second_of_other));
    }

    #[tokio::test]
    async fn a_few_orders_make_no_second_round() {
        let rounds = Rounds::default();
        let mut lane = rounds.turns();
        let first = go(&rounds, &mut lane, 1).await;
        (0..FEWEST - 1).for_each(|_| rounds.order());
        assert!(lane.may_go().now_or_never().is_none());
        drop(first);
        assert_eq!(lane.may_go().await.round, 2);
    }

    #[tokio::test]
    async fn calls_that_are_under_way_come_to_their_end() {
        let rounds = Rounds::default();
        let mut lane = rounds.turns();
        let back = go(&rounds, &mut lane, 1).await;
        let mut end = std::pin::pin!(lane.end());
        assert!((&mut end).now_or_never().is_none());
        drop(back);
        end.await;
    }
}
