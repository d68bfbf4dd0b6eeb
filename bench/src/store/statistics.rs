//! What a database has written: rows, commits, WAL and syncs, as Postgres counts them.
//!
//! WAL and transaction ids are counted at once. The rest a session reports at most once a second and only at the end of a
//! local transaction: before the last look the sessions must have rested for a second and then done one more.
use serde::Serialize;

use super::{Failed, Server};
use crate::report::ratio;

/// Counters since the server began; what this version of Postgres does not count is unset.
const LOOK: &str = "SELECT concat_ws('|', \
    pg_snapshot_xmax(pg_current_snapshot()), \
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, \
    d.tup_inserted, d.tup_updated, d.tup_deleted, \
    coalesce(to_jsonb(w) ->> 'wal_sync', 'none')) \
    FROM pg_stat_database d, pg_stat_wal w WHERE d.datname = current_database()";

/// How the counters stood at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    commits: u64,
    wal_bytes: u64,
    inserted: u64,
    updated: u64,
    deleted: u64,
    syncs: Option<u64>,
}

/// What was written for each order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// The database's name.
    pub database: String,
    /// Local transactions that wrote something.
    pub commits_per_order: f64,
    /// Orders in one of them: how large the batches are, decisions among them.
    pub orders_per_commit: f64,
    /// WAL.
    pub wal_bytes_per_order: f64,
    /// Syncs of the WAL to disk; unset where Postgres does not count them.
    pub syncs_per_order: Option<f64>,
    /// Rows inserted.
    pub inserted_per_order: f64,
    /// Rows updated.
    pub updated_per_order: f64,
    /// Rows deleted.
    pub deleted_per_order: f64,
}

impl Server {
    /// Looks at the counters.
    pub async fn look(&self) -> Result<Look, Failed> {
        let said = self.ask(&[LOOK.to_owned()]).await?;
        parse(said.trim()).ok_or_else(|| Failed::NoFigures { name: self.name.clone(), said })
    }
}

fn parse(said: &str) -> Option<Look> {
    let fields: Vec<Option<u64>> = said.split('|').map(|field| field.parse().ok()).collect();
    let [commits, wal_bytes, inserted, updated, deleted, syncs] = fields[..] else { return None };
    Some(Look {
        commits: commits?,
        wal_bytes: wal_bytes?,
        inserted: inserted?,
        updated: updated?,
        deleted: deleted?,
        syncs,
    })
}

impl Look {
    /// What was written since an earlier look, shared among so many orders; `None` if there were none.
    pub fn since(&self, earlier: &Look, database: &str, orders: u64) -> Option<Written> {
        let each = |from: u64, to: u64| ratio(to.saturating_sub(from) as f64, orders as f64);
        let commits_per_order = each(earlier.commits, self.commits)?;
        Some(Written {
            database: database.to_owned(),
            commits_per_order,
            orders_per_commit: ratio(1.0, commits_per_order)?,
            wal_bytes_per_order: each(earlier.wal_bytes, self.wal_bytes)?,
            syncs_per_order: earlier.syncs.zip(self.syncs).and_then(|(from, to)| each(from, to)),
            inserted_per_order: each(earlier.inserted, self.inserted)?,
            updated_per_order: each(earlier.updated, self.updated)?,
            deleted_per_order: each(earlier.deleted, self.deleted)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_shared_among_the_orders() {
        let (before, after) = (parse("100|5000|10|20|30|7").unwrap(), parse("150|25000|210|120|30|17").unwrap());
        let written = after.since(&before, "order-db", 100).unwrap();
        assert_eq!((written.commits_per_order, written.orders_per_commit), (0.5, 2.0));
        assert_eq!((written.wal_bytes_per_order, written.syncs_per_order), (200.0, Some(0.1)));
        assert_eq!(written.inserted_per_order + written.updated_per_order + written.deleted_per_order, 3.0);
        assert_eq!(after.since(&before, "order-db", 0), None);
    }

    #[test]
    fn a_counter_that_is_not_kept_is_left_out() {
        let (before, after) = (parse("1|1|1|1|1|none").unwrap(), parse("2|2|2|2|2|none").unwrap());
        assert_eq!(after.since(&before, "x", 1).unwrap().syncs_per_order, None);
        for said in ["", "1|2|3|4|5", "a|2|3|4|5|6"] {
            assert_eq!(parse(said), None, "{said:?}");
        }
    }
}
