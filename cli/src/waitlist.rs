//! `assent waitlist`: who waits for stock.
use clap::Subcommand;
use proto::assent::inventory::v1 as wire;
use serde::Serialize;
use tonic::Request;
use uuid::Uuid;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, fields, table, time};
use crate::stock::unsure;

/// Wait for stock: what becomes free is offered in the order of arrival
#[derive(Debug, Subcommand)]
pub enum Waitlist {
    /// Wait for a SKU, at the end of the line; what is free already is offered at once
    Join {
        /// The article
        sku: String,
        /// How many
        quantity: i64,
        /// Who waits
        #[arg(long, value_name = "NAME")]
        customer: String,
        /// Offer no less than this; what is less goes to those behind
        #[arg(long, value_name = "N", default_value_t = 1)]
        min: i64,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Stop waiting; what was offered and is in no order goes to the next
    Leave {
        /// Its id
        entry_id: String,
    },
    /// Show one wait: its place, and what it was offered
    Show {
        /// Its id
        entry_id: String,
    },
    /// List who waits for a SKU, in the order of arrival
    Ls {
        /// The article
        sku: String,
        /// Only this customer's
        #[arg(long, value_name = "NAME", default_value = "")]
        customer: String,
        /// Also those that have ended
        #[arg(long)]
        all: bool,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
        limit: i32,
    },
    /// Follow one wait, until it has ended
    Watch {
        /// Its id
        entry_id: String,
    },
}

#[derive(Debug, Serialize)]
struct OfferView {
    reservation_id: String,
    quantity: i64,
    expire_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct EntryView {
    entry_id: String,
    sku: String,
    customer: String,
    quantity: i64,
    min_quantity: i64,
    offered_quantity: i64,
    state: &'static str,
    position: i64,
    units_ahead: i64,
    offers: Vec<OfferView>,
    create_time: Option<String>,
    update_time: Option<String>,
}

impl From<wire::WaitlistEntry> for EntryView {
    fn from(entry: wire::WaitlistEntry) -> Self {
        let state = entry.state().as_str_name().trim_start_matches("WAITLIST_STATE_");
        let offer = |offer: wire::WaitlistOffer| OfferView {
            expire_time: time(offer.expire_time.as_ref()),
            reservation_id: offer.reservation_id,
            quantity: offer.quantity,
        };
        EntryView {
            state,
            create_time: time(entry.create_time.as_ref()),
            update_time: time(entry.update_time.as_ref()),
            entry_id: entry.entry_id,
            sku: entry.sku,
            customer: entry.customer,
            quantity: entry.quantity,
            min_quantity: entry.min_quantity,
            offered_quantity: entry.offered_quantity,
            position: entry.position,
            units_ahead: entry.units_ahead,
            offers: entry.offers.into_iter().map(offer).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct EntryList {
    entries: Vec<EntryView>,
}

impl Waitlist {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let mut client = services.waitlist().await?;
        let read = |status: tonic::Status| Failure::of_status(&status, Call::Read);
        let entry = match self {
            Waitlist::Join { sku, quantity, customer, min, request_id } => {
                let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
                let joining = wire::JoinWaitlistRequest {
                    sku,
                    quantity,
                    customer,
                    request_id: request_id.clone(),
                    min_quantity: min,
                };
                let joined = client.join_waitlist(services.request(joining)).await;
                joined.map_err(|status| unsure(&status, &request_id))?.into_inner().entry
            }
            Waitlist::Leave { entry_id } => {
                let left = client.leave_waitlist(services.request(wire::LeaveWaitlistRequest { entry_id })).await;
                left.map_err(|status| Failure::of_status(&status, Call::Write))?.into_inner().entry
            }
            Waitlist::Show { entry_id } => {
                let request = services.request(wire::GetWaitlistEntryRequest { entry_id });
                client.get_waitlist_entry(request).await.map_err(read)?.into_inner().entry
            }
            Waitlist::Ls { sku, customer, all, limit } => {
                let request = services.request(wire::ListWaitlistRequest {
                    sku,
                    customer,
                    show_ended: all,
                    page_size: limit,
                    page_token: String::new(),
                });
                let listed = client.list_waitlist(request).await.map_err(read)?.into_inner().entries;
                return output.print(&EntryList { entries: listed.into_iter().map(EntryView::from).collect() }, rows);
            }
            Waitlist::Watch { entry_id } => return watch(services, entry_id, output).await,
        };
        let entry = entry.ok_or_else(|| Failure::new("the inventory answered without the wait"))?;
        output.print(&EntryView::from(entry), page)
    }
}

async fn watch(services: &Services, entry_id: String, output: Output) -> Result<(), Failure> {
    let read = |status: tonic::Status| Failure::of_status(&status, Call::Read);
    // No deadline: it goes on.
    let request = Request::new(wire::WatchWaitlistRequest { entry_id });
    let mut events = services.waitlist().await?.watch_waitlist(request).await.map_err(read)?.into_inner();
    let mut ended = false;
    while let Some(told) = events.message().await.map_err(read)? {
        let Some(entry) = told.entry.map(EntryView::from) else { continue };
        ended = !matches!(entry.state, "WAITING" | "OFFERED");
        output.print_line(&entry, &line(&entry))?;
    }
    match ended {
        true => Ok(()),
        false => Err(Failure::new("the inventory has ended the stream").hint("watch it again")),
    }
}

fn line(entry: &EntryView) -> String {
    let offers = entry.offers.iter().map(|offer| {
        let until = offer.expire_time.as_deref().unwrap_or_default();
        format!("; {} until {until}: order with --reservation {}", offer.quantity, offer.reservation_id)
    });
    let place = match entry.position {
        0 => String::new(),
        position => format!(", place {position}, behind {} units", entry.units_ahead),
    };
    let EntryView { sku, state, quantity, offered_quantity, .. } = entry;
    format!("{sku} {state}{place}: {offered_quantity} of {quantity} offered{}", offers.collect::<String>())
}

fn page(view: &EntryView) -> String {
    let place = match view.position {
        0 => "-".to_owned(),
        position => format!("{position}, behind {} units", view.units_ahead),
    };
    let head = fields(&[
        ("entry_id", view.entry_id.clone()),
        ("sku", view.sku.clone()),
        ("customer", view.customer.clone()),
        ("state", view.state.to_owned()),
        ("place", place),
        ("offered", format!("{} of {}", view.offered_quantity, view.quantity)),
    ]);
    if view.offers.is_empty() {
        return head;
    }
    let row = |offer: &OfferView| {
        vec![offer.reservation_id.clone(), offer.quantity.to_string(), offer.expire_time.clone().unwrap_or_default()]
    };
    format!("{head}\n\n{}", table(&["offer", "quantity", "until"], &[1], view.offers.iter().map(row).collect()))
}

fn rows(list: &EntryList) -> String {
    let row = |entry: &EntryView| {
        vec![
            entry.position.to_string(),
            entry.entry_id.clone(),
            entry.customer.clone(),
            entry.state.to_owned(),
            entry.quantity.to_string(),
            entry.offered_quantity.to_string(),
        ]
    };
    let headers = ["place", "entry_id", "customer", "state", "wanted", "offered"];
    table(&headers, &[0, 4, 5], list.entries.iter().map(row).collect())
}
