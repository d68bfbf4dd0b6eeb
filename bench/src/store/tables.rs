//! What became of a database's tables: rows, dead ones among them, how often autovacuum came, and how large they are.
use serde::Serialize;

use super::{Failed, Server};

/// Partitions count as the table of which they are.
const TABLES: &str = "SELECT concat_ws('|', coalesce(whole.relname, each.relname), sum(n_live_tup), sum(n_dead_tup), sum(n_tup_ins), \
    sum(n_tup_upd), sum(n_tup_hot_upd), sum(n_tup_del), sum(autovacuum_count), sum(autoanalyze_count), \
    sum(pg_table_size(relid)), sum(pg_indexes_size(relid))) \
    FROM pg_stat_user_tables AS each LEFT JOIN pg_inherits ON inhrelid = relid LEFT JOIN pg_class AS whole ON whole.oid = inhparent \
    GROUP BY coalesce(whole.relname, each.relname) ORDER BY coalesce(whole.relname, each.relname)";
/// Where a participant's log counts the rows that went with partitions, of which Postgres forgets everything.
const LOG_WATERMARK: &str = "log_watermark";
const DROPPED: &str = "SELECT dropped_rows FROM log_watermark";
/// Where checkpoints are counted before Postgres 17, and since.
const CHECKPOINTS: [&str; 2] = [
    "SELECT concat_ws('|', checkpoints_timed, checkpoints_req, checkpoint_write_time::bigint) FROM pg_stat_bgwriter",
    "SELECT concat_ws('|', num_timed, num_requested, write_time::bigint) FROM pg_stat_checkpointer",
];

/// A table, as Postgres counts since the statistics began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Rows there are, estimated.
    pub live: u64,
    /// Rows that are dead and not cleared away yet, estimated.
    pub dead: u64,
    /// Rows inserted. In a participant's log, those that were still there and those that went with partitions.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Of these, those whose new version stayed on the page and touched no index.
    pub updated_on_page: u64,
    /// Rows deleted, or gone with partitions.
    pub deleted: u64,
    /// How often autovacuum cleared it.
    pub autovacuums: u64,
    /// How often autovacuum took its statistics.
    pub autoanalyzes: u64,
    /// The table alone.
    pub table_bytes: u64,
    /// Its indexes.
    pub index_bytes: u64,
}

/// What the checkpointer did since the statistics began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// Because it was time.
    pub timed: u64,
    /// Because so much WAL was written, or somebody asked.
    pub requested: u64,
    /// How long they wrote, together.
    pub write_ms: u64,
}

impl Server {
    /// The database's tables, by name.
    pub async fn tables(&self) -> Result<Vec<Table>, Failed> {
        let said = self.ask(&[TABLES.to_owned()]).await?;
        let mut tables: Vec<Table> =
            said.lines().map(table).collect::<Option<_>>().ok_or_else(|| self.no_figures(said))?;
        if tables.iter().any(|table| table.name == LOG_WATERMARK) {
            let said = self.ask(&[DROPPED.to_owned()]).await?;
            let dropped: u64 = said.trim().parse().map_err(|_| self.no_figures(said))?;
            for log in tables.iter_mut().filter(|table| table.name == "branch_log") {
                log.inserted += dropped;
                log.deleted += dropped;
            }
        }
        Ok(tables)
    }

    /// What its checkpointer did.
    pub async fn checkpoints(&self) -> Result<Checkpoints, Failed> {
        let version = self.ask(&["SHOW server_version_num".to_owned()]).await?;
        let is_since_17 = version.trim().parse::<u32>().is_ok_and(|number| number >= 170_000);
        let said = self.ask(&[CHECKPOINTS[usize::from(is_since_17)].to_owned()]).await?;
        match figures(said.trim())[..] {
            [Some(timed), Some(requested), Some(write_ms)] => Ok(Checkpoints { timed, requested, write_ms }),
            _ => Err(self.no_figures(said)),
        }
    }

    fn no_figures(&self, said: String) -> Failed {
        Failed::NoFigures { name: self.name.clone(), said }
    }
}

fn figures(said: &str) -> Vec<Option<u64>> {
    said.split('|').map(|field| field.parse().ok()).collect()
}

fn table(line: &str) -> Option<Table> {
    let (name, rest) = line.split_once('|')?;
    let figures: Option<Vec<u64>> = figures(rest).into_iter().collect();
    let [live, dead, inserted, updated, updated_on_page, deleted, autovacuums, autoanalyzes, table_bytes, index_bytes] =
        figures?[..]
    else {
        return None;
    };
    let name = name.to_owned();
    Some(Table {
        name,
        live,
        dead,
        inserted,
        updated,
        updated_on_page,
        deleted,
        autovacuums,
        autoanalyzes,
        table_bytes,
        index_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_postgres_tells_it() {
        let read = table("stock|1000|12|1000|50|49|3|2|1|8192|16384").unwrap();
        assert_eq!((read.name.as_str(), read.live, read.dead, read.deleted), ("stock", 1_000, 12, 3));
        assert_eq!((read.updated, read.updated_on_page, read.autovacuums), (50, 49, 2));
        assert_eq!((read.table_bytes, read.index_bytes), (8_192, 16_384));
        for said in ["", "stock", "stock|1|2", "stock|a|2|3|4|5|6|7|8|9|10"] {
            assert_eq!(table(said), None, "{said:?}");
        }
    }
}
