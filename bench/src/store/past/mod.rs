//! A past: orders by the million, written straight into a system's databases, because to place them would take hours.
//!
//! They are such as single-line orders leave them behind, and agree with each other and with what was there before: every
//! invariant holds. They are COMMITTED, and no garbage has been collected.
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;

use super::{Failed, Server};
use crate::shop::Shop;

const IDS: &str = include_str!("ids.sql");
const LOG: &str = include_str!("log.sql");
/// By database: its own rows, and if it has a log, how many bytes a branch has there.
const DATABASES: [(&str, &str, Option<u32>); 4] = [
    ("coordinator", include_str!("coordinator.sql"), None),
    ("inventory", include_str!("inventory.sql"), Some(40)),
    ("order", include_str!("order.sql"), Some(160)),
    ("payment", include_str!("payment.sql"), Some(50)),
];
/// What an order takes in all databases together, WAL that is kept for a while included.
const BYTES_PER_ORDER: u64 = 2_600;

/// Bytes of disk that so many orders need, in all databases together.
pub fn needed_bytes(orders: u64) -> u64 {
    orders * BYTES_PER_ORDER
}

/// Writes `orders` past orders of this shop, which is set up, into the databases of a system, all at the same time. The shop
/// has at most 100,000 SKUs and as many accounts, all that there are; nothing else may be placed meanwhile.
pub async fn write(servers: &[Server], shop: &Shop, run: &str, orders: u64) -> Result<(), Failed> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let set = |name: &str, value: &str| ["-v".to_owned(), format!("{name}={value}")];
    let given = [
        ("count", orders.to_string()),
        ("start_us", now.as_micros().to_string()),
        ("run", run.to_owned()),
        ("skus", shop.skus.len().to_string()),
        ("accounts", shop.accounts.len().to_string()),
    ];
    let given: Vec<String> = given.iter().flat_map(|(name, value)| set(name, value)).collect();
    let writes = DATABASES.into_iter().filter_map(|(database, own, branch_bytes)| {
        let server = servers.iter().find(|server| server.database == database)?;
        let mut arguments = vec!["-Xq".to_owned()];
        arguments.extend(set("ON_ERROR_STOP", "1"));
        arguments.extend(given.clone());
        arguments.extend(branch_bytes.into_iter().flat_map(|bytes| set("branch_bytes", &bytes.to_string())));
        let log = if branch_bytes.is_some() { LOG } else { "" };
        Some(async move { server.run("psql", arguments, &[IDS, log, own].concat()).await })
    });
    try_join_all(writes).await.map(drop)
}
