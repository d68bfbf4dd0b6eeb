//! Leases: which coordinator incarnations are taken to live. They decide only when somebody recovers, never what.
use std::collections::HashSet;

use super::Store;

/// What became of a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease goes on.
    Kept,
    /// Another process took the name.
    Superseded,
}

impl Store {
    /// Takes the name: an older incarnation of it counts as dead from now on.
    pub async fn take_lease(
        &self,
        name: &str,
        owner_id: &str,
        address: &str,
        lease_ms: u32,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO lease (name, owner_id, lease_until, address) \
             VALUES ($1, $2, now() + $3 * interval '1 millisecond', $4) \
             ON CONFLICT (name) DO UPDATE SET owner_id = EXCLUDED.owner_id, lease_until = EXCLUDED.lease_until, \
                 address = EXCLUDED.address",
        )
        .bind(name)
        .bind(owner_id)
        .bind(f64::from(lease_ms))
        .bind(address)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Gives a sign of life.
    pub async fn keep_lease(&self, name: &str, owner_id: &str, lease_ms: u32) -> Result<Heartbeat, sqlx::Error> {
        let kept = sqlx::query(
            "UPDATE lease SET lease_until = now() + $3 * interval '1 millisecond' WHERE name = $1 AND owner_id = $2",
        )
        .bind(name)
        .bind(owner_id)
        .bind(f64::from(lease_ms))
        .execute(&self.pool)
        .await?;
        Ok(if kept.rows_affected() == 1 { Heartbeat::Kept } else { Heartbeat::Superseded })
    }

    /// Gives the lease up at a graceful stop, so that nobody waits for it to run out.
    pub async fn end_lease(&self, name: &str, owner_id: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE lease SET lease_until = now() WHERE name = $1 AND owner_id = $2")
            .bind(name)
            .bind(owner_id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The incarnations that are taken to live.
    pub async fn live_owners(&self) -> Result<HashSet<String>, sqlx::Error> {
        let owners: Vec<String> =
            sqlx::query_scalar("SELECT owner_id FROM lease WHERE lease_until > now()").fetch_all(&self.pool).await?;
        Ok(owners.into_iter().collect())
    }
}
