//! GetStockFeed: what the feed does, and how far behind it is.
use std::time::SystemTime;

use participant::{Pool, status};
use proto::assent::inventory::v1 as api;
use tonic::Status;

use crate::feed::{Condition, Feed};
use crate::store;

/// Tells what the feed of this process does, and how far the stream is.
pub async fn tell(pool: &Pool, feed: &Feed) -> Result<api::GetStockFeedResponse, Status> {
    let (condition, since) = feed.state().now();
    let (state, problem) = match condition {
        Condition::Off => (api::FeedState::Off, String::new()),
        Condition::StandingBy => (api::FeedState::StandingBy, String::new()),
        Condition::Relaying => (api::FeedState::Relaying, String::new()),
        Condition::Failing(problem) => (api::FeedState::Failing, problem),
    };
    let told =
        api::GetStockFeedResponse { state: state.into(), since: since.map(Into::into), problem, ..Default::default() };
    let Some(settings) = feed.settings() else { return Ok(told) };
    let lag = store::feed::lag(pool).await.map_err(|error| status::database(&error))?;
    Ok(api::GetStockFeedResponse {
        stream: settings.stream.clone(),
        subject: settings.subject.clone(),
        relay: lag.relay,
        publish_time: lag.publish_time.map(|time| SystemTime::from(time).into()),
        stream_sequence: lag.stream_sequence,
        behind_count: lag.behind_count,
        behind_sku_count: lag.behind_sku_count,
        behind_since: lag.behind_since.map(|time| SystemTime::from(time).into()),
        ..told
    })
}
