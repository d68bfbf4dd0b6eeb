//! Strategies: how stock is held for orders that want the same.
//!
//! All of them keep the same promises, and the rest of the service does not know which one it has: no strategy holds more
//! than there is, each hold is one movement in the ledger, and votes are durable. They differ in who waits for whom.
mod atomic;
mod escrow;
mod fenced;
mod optimistic;
mod pessimistic;
mod redis_lock;
mod zookeeper_lock;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use participant::{PreparedBranch, Refusal, Writing};
use sqlx::PgConnection;
use uuid::Uuid;

use super::claims;
use super::holds::{Guard, Seen, all_there, change};
use super::ledger::{self, Batch};
use crate::domain::{Claim, Holds, decide};

/// Which strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Orders that have come together are decided together: one update of the sums per SKU
    Escrow,
    /// One guarded update per order
    Atomic,
    /// The rows are locked, read, and updated
    Pessimistic,
    /// The rows are read, and updated if they are still at the version that was read
    Optimistic,
    /// The same as pessimistic, with locks in Redis, whose fencing tokens Postgres enforces
    RedisLock,
    /// The same with locks in ZooKeeper
    ZookeeperLock,
}

impl Name {
    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Escrow => "escrow",
            Name::Atomic => "atomic",
            Name::Pessimistic => "pessimistic",
            Name::Optimistic => "optimistic",
            Name::RedisLock => "redis-lock",
            Name::ZookeeperLock => "zookeeper-lock",
        }
    }
}

/// How stock is held.
#[tonic::async_trait]
pub trait Strategy: Send + Sync {
    /// Its name.
    fn name(&self) -> Name;

    /// How PREPAREs are to be written, with so many writers where each is written alone.
    fn writing(&self, writers: usize) -> Writing {
        Writing::Alone { writers }
    }

    /// Gets the locks that a branch needs, before its local transaction begins.
    async fn enter(&self, branch: &PreparedBranch<Holds>) -> Result<(), String> {
        let _ = branch;
        Ok(())
    }

    /// Takes the holds of branches within their local transaction, deciding in their order.
    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error>;

    /// Gives the locks back: the local transaction has ended.
    async fn leave(&self, transaction_id: Uuid) {
        let _ = transaction_id;
    }

    /// What it has had to do again.
    fn counters(&self) -> &Counters;
}

/// What a strategy has had to do again since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    retries: AtomicU64,
    fenced: AtomicU64,
}

impl Counters {
    /// How often stock had to be read, or a lock asked for, once more.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How often a hold was refused by its fencing token: the lock was lost.
    pub fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn fence(&self) {
        self.fenced.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where and how locks are kept.
#[derive(Debug, Clone)]
pub struct Locks {
    /// Redis, as redis://host:port.
    pub redis: String,
    /// ZooKeeper, as host:port,host:port.
    pub zookeeper: String,
    /// How long a lock is kept for a holder of whom nothing is heard.
    pub ttl: Duration,
    /// How long a lock is waited for.
    pub wait: Duration,
}

/// The default.
pub fn escrow() -> Arc<dyn Strategy> {
    Arc::new(escrow::Escrow::default())
}

/// The strategy of this name.
pub fn of(name: Name, locks: &Locks) -> anyhow::Result<Arc<dyn Strategy>> {
    Ok(match name {
        Name::Escrow => escrow(),
        Name::Atomic => Arc::new(atomic::Atomic::default()),
        Name::Pessimistic => Arc::new(pessimistic::Pessimistic::default()),
        Name::Optimistic => Arc::new(optimistic::Optimistic::default()),
        Name::RedisLock => Arc::new(redis_lock::RedisLock::new(locks)?),
        Name::ZookeeperLock => Arc::new(zookeeper_lock::ZookeeperLock::new(locks)),
    })
}

/// What was seen of the SKUs of a branch, in their order.
type Read = BTreeMap<String, Seen>;

/// Whether a branch finds enough in what was read, and what it claims of its reservations then.
async fn find_enough(
    connection: &mut PgConnection,
    branch: &PreparedBranch<Holds>,
    read: &Read,
) -> Result<Result<Vec<Claim>, Refusal>, sqlx::Error> {
    let reserved = claims::lock(connection, std::slice::from_ref(branch)).await?;
    let available = read.iter().map(|(sku, seen)| (sku.as_str(), seen.available)).collect();
    Ok(decide(&[&*branch.branch], available, reserved).pop().unwrap_or_else(|| Ok(Vec::new())))
}

/// Holds what one branch wants where the guard lets it, and writes the movements. How many SKUs it let it: unless all,
/// what was changed must be rolled back.
async fn hold(
    connection: &mut PgConnection,
    branch: &PreparedBranch<Holds>,
    claims: &[Claim],
    guard: Guard<'_>,
) -> Result<Held, sqlx::Error> {
    let batch = Batch::of_holds([(branch, claims)]);
    let figures = change(connection, &batch.changes, guard).await?;
    match figures.len() {
        0 => Ok(Held::Nothing),
        some if some == batch.changes.len() => {
            ledger::write(connection, &batch, &figures).await?;
            claims::write(connection, [(branch, claims)]).await?;
            Ok(Held::All)
        }
        _ => Ok(Held::Some),
    }
}

/// Of what SKUs so many as are wanted were held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    All,
    Some,
    Nothing,
}

impl Held {
    /// What must have succeeded.
    fn all(self) -> Result<(), sqlx::Error> {
        all_there(usize::from(self == Held::All), 1)
    }
}
