//! Waiting for conditions, with a deadline.
use std::time::{Duration, Instant};

/// Waits until something is so; returns how long it took. Panics when it is not so in time.
pub async fn until(what: &str, within: Duration, so: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < within, "not within {} ms: {what}", within.as_millis());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
