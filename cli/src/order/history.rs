//! `assent order history`: who did what with an order, and when.
use proto::assent::order::v1 as wire;
use serde::Serialize;

use super::{some, state_name};
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::money::MoneyView;
use crate::output::{Output, table, time};

/// One entry.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    sequence: i64,
    event: String,
    state: &'static str,
    transaction_id: String,
    actor: Option<String>,
    request_id: String,
    reason: Option<String>,
    refund: Option<MoneyView>,
    lines: Vec<LineView>,
    create_time: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct LineView {
    sku: String,
    quantity: i64,
    damaged: bool,
}

#[derive(Debug, Serialize)]
struct History {
    events: Vec<EventView>,
}

impl From<wire::OrderEvent> for EventView {
    fn from(event: wire::OrderEvent) -> Self {
        let name = event.kind().as_str_name().trim_start_matches("ORDER_EVENT_KIND_").to_lowercase();
        let line = |line: wire::ReturnLine| LineView {
            damaged: line.condition() == wire::ReturnCondition::Damaged,
            sku: line.sku,
            quantity: line.quantity,
        };
        EventView {
            sequence: event.sequence,
            event: name,
            state: state_name(event.state()),
            refund: MoneyView::of(event.refund.as_ref()),
            create_time: time(event.create_time.as_ref()),
            transaction_id: event.transaction_id,
            actor: some(event.actor),
            request_id: event.request_id,
            reason: some(event.reason),
            lines: event.lines.into_iter().map(line).collect(),
        }
    }
}

impl EventView {
    /// One line for a person.
    pub fn line(&self) -> String {
        let when = self.create_time.as_deref().unwrap_or("-");
        let who = self.actor.as_deref().unwrap_or("somebody");
        let what = self.what();
        let what = if what.is_empty() { what } else { format!(": {what}") };
        format!("{when} {} {} by {who}, now {}{what}", self.sequence, self.event, self.state)
    }

    /// What came back, what was paid back, and why.
    fn what(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let damaged = if line.damaged { " (damaged)" } else { "" };
            format!("{} of {}{damaged}", line.quantity, line.sku)
        });
        let refund = self.refund.as_ref().map(|refund| format!("{refund} back"));
        lines.chain(refund).chain(self.reason.clone()).collect::<Vec<_>>().join(", ")
    }
}

/// Runs the verb.
pub async fn run(services: &Services, order_id: String, output: Output) -> Result<(), Failure> {
    let mut client = services.orders().await?;
    let mut events: Vec<EventView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = wire::ListOrderEventsRequest { order_id: order_id.clone(), page_size: 500, page_token };
        let page = client.list_order_events(services.request(message)).await;
        let page = page.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
        events.extend(page.events.into_iter().map(EventView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.print(&History { events }, |history| {
        let rows = history.events.iter().map(|event| {
            vec![
                event.sequence.to_string(),
                event.create_time.clone().unwrap_or_default(),
                event.event.clone(),
                event.state.to_owned(),
                event.actor.clone().unwrap_or_default(),
                event.transaction_id.clone(),
                event.what(),
            ]
        });
        table(&["seq", "when", "event", "state", "by", "transaction", "what"], &[0], rows.collect())
    })
}
