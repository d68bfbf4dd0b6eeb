//! One timer for all of a task's waits.
//!
//! A timer that is due sooner than all others makes the runtime wake itself with a system call, and a writer would set one after
//! each batch, mostly for the same moment. This one stays set, and is set again only for a moment that it would miss.
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer.
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// One that is not set.
    pub(super) fn new() -> Self {
        Alarm(Box::pin(sleep_until(Instant::now())))
    }

    /// Waits until then; for ever, if that is never. Dropping the future leaves the timer set.
    pub(super) async fn at(&mut self, moment: Option<Instant>) {
        let Some(moment) = moment else { return std::future::pending().await };
        loop {
            if self.0.is_elapsed() || self.0.deadline() > moment {
                self.0.as_mut().reset(moment);
            }
            self.0.as_mut().await;
            if Instant::now() >= moment {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    /// How long it was waited, unless it was given up after `patience`.
    async fn waited(alarm: &mut Alarm, wait: Option<Duration>, patience: Duration) -> Option<Duration> {
        let began = Instant::now();
        let waited = tokio::time::timeout(patience, alarm.at(wait.map(|wait| began + wait))).await;
        waited.ok().map(|()| began.elapsed())
    }

    #[tokio::test]
    async fn it_goes_off_at_the_moment_that_was_asked_for_last() {
        let alarm = &mut Alarm::new();
        let in_ms = |ms| Some(Duration::from_millis(ms));
        assert!(waited(alarm, in_ms(20), LONG).await >= in_ms(20));
        assert_eq!(waited(alarm, Some(LONG), SOON).await, None, "something else comes first");
        assert!(waited(alarm, in_ms(5), LONG / 2).await >= in_ms(5), "sooner than it was set for");
        // Given up before, on all but a very busy machine.
        let _ = waited(alarm, in_ms(20), SOON).await;
        assert!(waited(alarm, in_ms(50), LONG).await >= in_ms(50), "later than it was set for");
        assert!(waited(alarm, in_ms(0), LONG).await.is_some());
        assert_eq!(waited(alarm, None, SOON).await, None);
    }
}
