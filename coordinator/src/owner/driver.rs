//! Tells attempts what happens to them, and that their time has passed: one task for all of them.
//!
//! Votes and records come in batches, so it is woken once for many. It does no waiting of its own, and whoever tells it
//! something only queues it: a lane or a writer is never held up by what follows from its answers.
//!
//! What is to be done once a client is answered is done when the answer is on its way: when all other tasks have done what they can.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::attempt::Attempt;
use super::events::Happened;

/// News that are taken at once, at most.
const MAX_NEWS: usize = 256;
/// Attempts that are followed up together, at most: more than orders that are decided together, so that the decisions about
/// these reach a participant together as well, which then closes what it prepared as a whole.
const MAX_LEFT: usize = 2048;
/// How long it sleeps when nothing is scheduled.
const IDLE: Duration = Duration::from_secs(3600);

type News = (Arc<Attempt>, Happened);
type Schedule = Mutex<BTreeMap<(Instant, Uuid), Weak<Attempt>>>;

/// A handle on the driver's task, which ends when the handle is dropped.
pub struct Driver {
    news: mpsc::UnboundedSender<News>,
    schedule: Arc<Schedule>,
}

impl Driver {
    /// Starts the task.
    pub fn start() -> Self {
        let (news, queue) = mpsc::unbounded_channel();
        let schedule = Arc::new(Schedule::default());
        tokio::spawn(drive(queue, schedule.clone()));
        Driver { news, schedule }
    }

    /// Has an attempt told what happened.
    pub fn tell(&self, attempt: Arc<Attempt>, happened: Happened) {
        // Nobody is left to tell when the process stops.
        let _ = self.news.send((attempt, happened));
    }

    /// Has the attempt told when it is `at`. Only for what the driver itself is telling, which looks at the schedule next.
    pub fn schedule(&self, at: Instant, attempt: &Arc<Attempt>) {
        lock(&self.schedule).insert((at, attempt.id()), Arc::downgrade(attempt));
    }

    /// Takes a time back, if it has not come yet.
    pub fn unschedule(&self, attempt: Uuid, at: Instant) {
        lock(&self.schedule).remove(&(at, attempt));
    }
}

async fn drive(mut queue: mpsc::UnboundedReceiver<News>, schedule: Arc<Schedule>) {
    let mut news = Vec::with_capacity(MAX_NEWS);
    // Of which something is left to do.
    let mut left: Vec<Arc<Attempt>> = Vec::new();
    loop {
        let next = lock(&schedule).first_key_value().map(|((at, _), _)| *at);
        let next = next.unwrap_or_else(|| Instant::now() + IDLE);
        let is_closed = tokio::select! {
            biased;
            count = queue.recv_many(&mut news, MAX_NEWS), if left.len() < MAX_LEFT => count == 0,
            () = tokio::task::yield_now(), if !left.is_empty() => {
                follow_up(&mut left);
                false
            }
            () = tokio::time::sleep_until(next) => false,
        };
        let mut tell = |attempt: Arc<Attempt>, happened| {
            if guarded(&attempt, || attempt.on(happened)) == Some(true) {
                left.push(attempt);
            }
        };
        for (attempt, happened) in news.drain(..) {
            tell(attempt, happened);
        }
        let now = Instant::now();
        while let Some(attempt) = due(&schedule, now) {
            // One that is gone was over.
            if let Some(attempt) = attempt.upgrade() {
                tell(attempt, Happened::TimePassed);
            }
        }
        if is_closed {
            return follow_up(&mut left);
        }
    }
}

fn follow_up(left: &mut Vec<Arc<Attempt>>) {
    for attempt in left.drain(..) {
        guarded(&attempt, || attempt.follow_up());
    }
}

fn due(schedule: &Schedule, now: Instant) -> Option<Weak<Attempt>> {
    let mut schedule = lock(schedule);
    let first = schedule.first_entry().filter(|first| first.key().0 <= now)?;
    Some(first.remove())
}

/// A defect that one attempt meets must not end all others: it is left to recovery.
fn guarded<T>(attempt: &Attempt, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        tracing::error!(transaction_id = %attempt.id(), "an attempt panicked; recovery will settle it");
    }
    done
}

fn lock(schedule: &Schedule) -> MutexGuard<'_, BTreeMap<(Instant, Uuid), Weak<Attempt>>> {
    schedule.lock().unwrap_or_else(PoisonError::into_inner)
}
