//! `assent stock feed`: how far the ledger was passed on.
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, fields, thousands, time};

#[derive(Debug, Serialize)]
struct FeedView {
    /// "off", "standing_by", "relaying" or "failing".
    state: String,
    since: Option<String>,
    problem: Option<String>,
    stream: String,
    subject: String,
    relay: String,
    publish_time: Option<String>,
    stream_sequence: i64,
    behind: u64,
    behind_skus: u64,
    behind_since: Option<String>,
}

/// Runs the verb.
pub async fn run(services: &Services, output: Output) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let answer = client.get_stock_feed(services.request(wire::GetStockFeedRequest {})).await;
    let told = answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    let view = FeedView {
        state: told.state().as_str_name().trim_start_matches("FEED_STATE_").to_lowercase(),
        since: time(told.since.as_ref()),
        problem: Some(told.problem).filter(|problem| !problem.is_empty()),
        stream: told.stream,
        subject: told.subject,
        relay: told.relay,
        publish_time: time(told.publish_time.as_ref()),
        stream_sequence: told.stream_sequence,
        behind: u64::try_from(told.behind_count).unwrap_or_default(),
        behind_skus: u64::try_from(told.behind_sku_count).unwrap_or_default(),
        behind_since: time(told.behind_since.as_ref()),
    };
    output.print(&view, page)?;
    match view.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::new(format!("movements are not passed on: {problem}"))
            .hint("nothing is lost: what is behind is passed on as soon as that is over")),
    }
}

fn page(view: &FeedView) -> String {
    if view.state == "off" {
        return "movements are not passed on: the inventory runs without --nats-url".to_owned();
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let behind = match (view.behind, &view.behind_since) {
        (0, _) => "nothing".to_owned(),
        (count, since) => {
            let since = since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
            format!("{} movements of {} SKUs{since}", thousands(count), thousands(view.behind_skus))
        }
    };
    fields(&[
        ("state", view.state.replace('_', " ")),
        ("since", or_none(&view.since)),
        ("stream", format!("{} ({}.*)", view.stream, view.subject)),
        ("relay", view.relay.clone()),
        ("stream at", view.stream_sequence.to_string()),
        ("last passed on", or_none(&view.publish_time)),
        ("behind", behind),
    ])
}
