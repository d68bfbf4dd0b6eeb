//! Queues for a SKU: who is next in line gets what is free. Read while the SKUs' rows are locked, decided in memory.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Stock, Waiting, offer};

/// Those of a SKU that are read at a time.
const AT_ONCE: i64 = 100;

/// So many of a SKU, for one who waits.
pub struct Share {
    /// Who.
    pub id: Uuid,
    /// Of what.
    pub sku: String,
    /// How many.
    pub quantity: i64,
}

/// Who gets what of what is free, and for which SKUs nobody waits any more then. `query` reads those who wait, in their
/// order: it takes SKUs, places and a limit, and answers SKU, id, place, how many are wanted, and how many at least.
pub async fn share<'a>(
    connection: &mut PgConnection,
    freed: &[&'a Stock],
    query: &'static str,
) -> Result<(Vec<Share>, Vec<&'a str>), sqlx::Error> {
    let mut shares = Vec::new();
    let mut left: BTreeMap<&str, Left> =
        freed.iter().map(|stock| (stock.sku.as_str(), Left::new(stock.balance.available()))).collect();
    loop {
        let open: Vec<(&str, i64)> =
            left.iter().filter(|(_, left)| left.goes_on()).map(|(sku, left)| (*sku, left.after)).collect();
        if open.is_empty() {
            break;
        }
        let mut waiting = read(connection, &open, query).await?;
        for (sku, _) in open {
            let (Some(left), waiting) = (left.get_mut(sku), waiting.remove(sku).unwrap_or_default()) else { continue };
            let offered = offer(&mut left.free, &waiting);
            left.seen(&waiting, &offered);
            let share = |(one, quantity): (&Waiting, i64)| Share { id: one.entry_id, sku: sku.to_owned(), quantity };
            shares.extend(waiting.iter().zip(offered).filter(|(_, quantity)| *quantity > 0).map(share));
        }
    }
    let unwaited = left.into_iter().filter(|(_, left)| left.at_end && !left.waits).map(|(sku, _)| sku).collect();
    Ok((shares, unwaited))
}

/// What is left of a SKU while it is shared out.
struct Left {
    free: i64,
    /// The place up to which was read.
    after: i64,
    /// Whether all who wait were read.
    at_end: bool,
    /// Whether any of them still waits.
    waits: bool,
}

impl Left {
    fn new(free: i64) -> Self {
        Left { free, after: 0, at_end: false, waits: false }
    }

    fn goes_on(&self) -> bool {
        self.free > 0 && !self.at_end
    }

    fn seen(&mut self, waiting: &[Waiting], offered: &[i64]) {
        self.after = waiting.last().map_or(self.after, |last| last.place);
        self.at_end = i64::try_from(waiting.len()).is_ok_and(|count| count < AT_ONCE);
        self.waits |= waiting.iter().zip(offered).any(|(one, offered)| *offered < one.wanted);
    }
}

/// Those who wait for SKUs after a place, the first of each.
async fn read(
    connection: &mut PgConnection,
    open: &[(&str, i64)],
    query: &'static str,
) -> Result<BTreeMap<String, Vec<Waiting>>, sqlx::Error> {
    let rows: Vec<(String, Uuid, i64, i64, i64)> = sqlx::query_as(query)
        .bind(open.iter().map(|(sku, _)| *sku).collect::<Vec<_>>())
        .bind(open.iter().map(|(_, after)| *after).collect::<Vec<_>>())
        .bind(AT_ONCE)
        .fetch_all(connection)
        .await?;
    let mut waiting: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
    for (sku, entry_id, place, wanted, least) in rows {
        waiting.entry(sku).or_default().push(Waiting { entry_id, place, wanted, least });
    }
    Ok(waiting)
}
