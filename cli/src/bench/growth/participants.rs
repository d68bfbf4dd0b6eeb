//! How many participants a transaction has: the same work, one unit of stock, at each of so many inventories.
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::ask::Execute;
use bench::report::{Report, Setting};
use bench::setup::{self, ON_HAND};
use bench::shop::{Plan, Shop};
use bench::{Caller, closed_loop};
use proto::assent::inventory::v1::ListStockRequest;

use super::members::Members;
use crate::bench::local::LOAD_GENERATOR;
use crate::client::Services;
use crate::failure::{Call, Failure};

/// What has been decided is written down within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PAGE_SIZE: i32 = 1_000;

/// Measures transactions over `count` participants, from so many clients; an order of the report is a transaction, and a line
/// its branch at one participant.
pub async fn measure(
    folder: &Path,
    port_base: u16,
    services: &Services,
    count: u16,
    plan: Plan,
    setting: &Setting,
    clients: usize,
) -> Result<Report, Failure> {
    let members = Members::start(folder, port_base, count).await?;
    let measured = load(&members, services, plan, setting, clients).await;
    members.stop().await?;
    measured
}

async fn load(
    members: &Members,
    services: &Services,
    plan: Plan,
    setting: &Setting,
    clients: usize,
) -> Result<Report, Failure> {
    let shop = Arc::new(Shop::new(&plan).map_err(Failure::usage)?);
    let caller = Caller { client_id: services.client_id.clone(), timeout: Duration::from_millis(services.timeout_ms) };
    for (_, address) in &members.inventories {
        let stock = Services { inventory: address.clone(), ..services.clone() }.stock().await?;
        let stocked = setup::stock(stock, &caller, &shop).await;
        stocked.map_err(|failed| Failure {
            message: failed.to_string(),
            ..Failure::of_status(&failed.status, Call::Write)
        })?;
    }
    let at = Services { coordinator: members.coordinator.clone(), ..services.clone() };
    let participants: Arc<[String]> = members.inventories.iter().map(|(name, _)| name.clone()).collect();
    let mut asks = Vec::new();
    for _ in 0..setting.connections {
        let (caller, shop, participants) = (caller.clone(), shop.clone(), participants.clone());
        asks.push(Execute { transactions: at.transactions().await?, caller, shop, participants });
    }
    let settings = closed_loop::Settings { clients, warm_up: setting.warm_up, measured: setting.measured };
    let watch = members.watch().and_own(LOAD_GENERATOR);
    let (seen, usage) = closed_loop::run(&asks, settings, &watch).await;
    all_sold_the_same(members, services, seen.counts.confirmed).await?;
    let plan = Plan { lines: participants.len(), ..plan };
    Ok(Report::new(&plan, setting, &seen, &usage))
}

/// Waits until nothing is held any more; then each participant must have sold as much as the others, and at least what was
/// answered: a transaction takes one unit everywhere or none.
async fn all_sold_the_same(members: &Members, services: &Services, answered: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let mut sold = Vec::new();
        let mut held = 0;
        for (_, address) in &members.inventories {
            let (sold_here, held_here) = sold_and_held(address, services).await?;
            sold.push(sold_here);
            held += held_here;
        }
        let is_whole =
            sold.iter().all(|one| Some(one) == sold.first() && u64::try_from(*one).is_ok_and(|one| one >= answered));
        if held == 0 && is_whole {
            return Ok(());
        }
        if begun.elapsed() > SETTLED_WITHIN {
            let message = format!(
                "the participants do not agree: they have sold {sold:?}, {answered} were answered, and {held} are held"
            );
            return Err(Failure::new(message));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn sold_and_held(address: &str, services: &Services) -> Result<(i64, i64), Failure> {
    let mut client = Services { inventory: address.to_owned(), ..services.clone() }.stock().await?;
    let (mut sold, mut held, mut page_token) = (0, 0, String::new());
    loop {
        let request = services.request(ListStockRequest { page_size: PAGE_SIZE, page_token });
        let page =
            client.list_stock(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
        for item in page.items {
            sold += ON_HAND - item.on_hand;
            held += item.held;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((sold, held));
        }
    }
}
