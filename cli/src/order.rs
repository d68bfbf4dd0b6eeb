//! `assent order`: place orders, look at them, and say what becomes of them.
mod change;
mod history;
mod place;
mod watch;

use clap::Subcommand;
use proto::assent::order::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::money::MoneyView;
use crate::output::{Output, fields, table, time};

pub use place::Line;

/// Place orders, look at them, and say what becomes of them
#[derive(Debug, Subcommand)]
pub enum Order {
    Place(place::Place),
    /// Show an order
    Get {
        /// Its id
        order_id: String,
    },
    /// List orders, newest first
    Ls {
        /// Only orders in this state
        #[arg(long)]
        state: Option<State>,
        /// Only orders of this account
        #[arg(long, default_value = "", hide_default_value = true)]
        account: String,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    Cancel(change::Cancel),
    Ship(change::Ship),
    Return(change::Return),
    Refund(change::Refund),
    /// Tell what happened to an order: who did what, and when
    History {
        /// Its id
        order_id: String,
    },
    /// Follow an order, until interrupted
    Watch {
        /// Its id
        order_id: String,
        /// Go on after this event
        #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(0..))]
        after: Option<i64>,
    },
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum State {
    /// Being placed.
    Pending,
    /// Placed.
    Confirmed,
    /// Refused.
    Refused,
    /// Cancelled.
    Cancelled,
    /// Shipped.
    Shipped,
    /// Some of it has come back.
    PartiallyReturned,
    /// All of it has come back.
    Returned,
    /// It waits for goods.
    Backordered,
    /// It has got some of its goods.
    PartiallyAllocated,
}

#[derive(Debug, Serialize)]
struct OrderView {
    order_id: String,
    state: &'static str,
    account: String,
    total: Option<MoneyView>,
    reason: Option<String>,
    reason_message: Option<String>,
    request_id: String,
    create_time: Option<String>,
    version: i64,
    refunded: Option<MoneyView>,
    tracking: Option<String>,
    lines: Vec<LineView>,
}

#[derive(Debug, Serialize)]
struct LineView {
    sku: String,
    quantity: i64,
    unit_price: Option<MoneyView>,
    returned_quantity: i64,
}

#[derive(Debug, Serialize)]
struct OrderList {
    orders: Vec<OrderView>,
}

fn state_name(state: wire::OrderState) -> &'static str {
    match state {
        wire::OrderState::Pending => "pending",
        wire::OrderState::Confirmed => "confirmed",
        wire::OrderState::Refused => "refused",
        wire::OrderState::Cancelled => "cancelled",
        wire::OrderState::Shipped => "shipped",
        wire::OrderState::PartiallyReturned => "partially_returned",
        wire::OrderState::Returned => "returned",
        wire::OrderState::Backordered => "backordered",
        wire::OrderState::PartiallyAllocated => "partially_allocated",
        wire::OrderState::Unspecified => "unspecified",
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl From<wire::Order> for OrderView {
    fn from(order: wire::Order) -> Self {
        OrderView {
            state: state_name(order.state()),
            total: MoneyView::of(order.total.as_ref()),
            create_time: time(order.create_time.as_ref()),
            version: order.version,
            refunded: MoneyView::of(order.refunded.as_ref()),
            tracking: some(order.tracking),
            order_id: order.order_id,
            account: order.account,
            reason: some(order.reason),
            reason_message: some(order.reason_message),
            request_id: order.request_id,
            lines: order
                .lines
                .into_iter()
                .map(|line| LineView {
                    unit_price: MoneyView::of(line.unit_price.as_ref()),
                    sku: line.sku,
                    quantity: line.quantity,
                    returned_quantity: line.returned_quantity,
                })
                .collect(),
        }
    }
}

impl Order {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        match self {
            Order::Place(place) => place.run(services, output).await,
            Order::Get { order_id } => {
                let request = services.request(wire::GetOrderRequest { order_id });
                let answer = services.orders().await?.get_order(request).await;
                let order = answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner().order;
                let order = order.ok_or_else(|| Failure::new("the coordinator answered without the order"))?;
                output.print(&OrderView::from(order), order_page)
            }
            Order::Ls { state, account, limit } => list(services, state, account, limit, output).await,
            Order::Cancel(cancel) => cancel.run(services, output).await,
            Order::Ship(ship) => ship.run(services, output).await,
            Order::Return(back) => back.run(services, output).await,
            Order::Refund(refund) => refund.run(services, output).await,
            Order::History { order_id } => history::run(services, order_id, output).await,
            Order::Watch { order_id, after } => watch::run(services, order_id, after, output).await,
        }
    }
}

async fn list(
    services: &Services,
    state: Option<State>,
    account: String,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let state = match state {
        None => wire::OrderState::Unspecified,
        Some(State::Pending) => wire::OrderState::Pending,
        Some(State::Confirmed) => wire::OrderState::Confirmed,
        Some(State::Refused) => wire::OrderState::Refused,
        Some(State::Cancelled) => wire::OrderState::Cancelled,
        Some(State::Shipped) => wire::OrderState::Shipped,
        Some(State::PartiallyReturned) => wire::OrderState::PartiallyReturned,
        Some(State::Returned) => wire::OrderState::Returned,
        Some(State::Backordered) => wire::OrderState::Backordered,
        Some(State::PartiallyAllocated) => wire::OrderState::PartiallyAllocated,
    };
    let mut client = services.orders().await?;
    let mut orders: Vec<OrderView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(orders.len()).min(200);
        let request = services.request(wire::ListOrdersRequest {
            page_size: i32::try_from(left).unwrap_or(200),
            page_token,
            state: state.into(),
            account: account.clone(),
        });
        let page = client.list_orders(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        orders.extend(page.orders.into_iter().map(OrderView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || orders.len() >= limit as usize {
            break;
        }
    }
    output.print(&OrderList { orders }, |list| {
        let rows = list.orders.iter().map(|order| {
            vec![
                order.order_id.clone(),
                order.state.to_owned(),
                order.account.clone(),
                order.lines.len().to_string(),
                order.total.as_ref().map(MoneyView::to_string).unwrap_or_default(),
                order.create_time.clone().unwrap_or_default(),
                order.reason.clone().unwrap_or_default(),
            ]
        });
        table(&["order", "state", "account", "lines", "total", "placed", "reason"], &[3, 4], rows.collect())
    })
}

fn order_page(order: &OrderView) -> String {
    let mut rows = vec![
        ("order_id", order.order_id.clone()),
        ("state", order.state.to_owned()),
        ("account", order.account.clone()),
        ("total", order.total.as_ref().map(MoneyView::to_string).unwrap_or_default()),
        ("placed", order.create_time.clone().unwrap_or_default()),
        ("request_id", order.request_id.clone()),
    ];
    if let Some(reason) = &order.reason {
        rows.push(("reason", format!("{reason}: {}", order.reason_message.as_deref().unwrap_or_default())));
    }
    rows.extend(order.refunded.as_ref().map(|refunded| ("refunded", refunded.to_string())));
    rows.extend(order.tracking.clone().map(|tracking| ("tracking", tracking)));
    let has_returned = order.lines.iter().any(|line| line.returned_quantity != 0);
    let lines = order.lines.iter().map(|line| {
        let price = line.unit_price.as_ref().map(MoneyView::to_string).unwrap_or_default();
        let returned = has_returned.then(|| line.returned_quantity.to_string());
        [line.sku.clone(), line.quantity.to_string(), price].into_iter().chain(returned).collect()
    });
    let headings: &[&str] = match has_returned {
        true => &["sku", "quantity", "unit price", "returned"],
        false => &["sku", "quantity", "unit price"],
    };
    format!("{}\n\n{}", fields(&rows), table(headings, &[1, 2, 3], lines.collect()))
}
