//! ZooKeeper locks: whoever has the lowest ephemeral, sequential node below a SKU holds its lock, the next one watches him.
//! They go with their session, when nothing is heard from its process for the lock's time to live. The node's sequence is
//! the fencing token: the session of a process that was paused ends without its knowing, and Postgres refuses its update.
//!
//! The locks of an order are taken one after the other, in the order of the SKUs, so that nobody waits in a circle. A
//! ZooKeeper that has lost its data counts from the beginning, so a token is an epoch and a sequence, and the epoch, a node
//! as well, is raised above what Postgres has seen.
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;
use zookeeper_client::{Acls, Client, CreateMode, Error, LockOptions, LockPrefix, OwnedLockClient, SessionId};

use super::fenced::Entered;
use super::{Counters, Locks, Name, Strategy};
use crate::domain::Holds;

const FOLDER: &str = "/assent/stock";
const EPOCH: &str = "/assent/epoch";
/// Sequences have 31 bits.
const EPOCH_SHIFT: u32 = 31;

/// Locks in ZooKeeper.
pub struct ZookeeperLock {
    cluster: String,
    client: Mutex<Option<Client>>,
    epoch: AtomicI64,
    ttl: Duration,
    wait: Duration,
    entered: Entered<Vec<OwnedLockClient>>,
    counters: Counters,
}

impl ZookeeperLock {
    /// The strategy on a cluster, to which nothing is connected yet.
    pub fn new(locks: &Locks) -> Self {
        ZookeeperLock {
            cluster: locks.zookeeper.clone(),
            client: Mutex::default(),
            epoch: AtomicI64::new(0),
            ttl: locks.ttl,
            wait: locks.wait,
            entered: Entered::default(),
            counters: Counters::default(),
        }
    }

    /// The session, a new one if the last has ended.
    async fn session(&self) -> Result<Client, Error> {
        let mut shared = self.client.lock().await;
        if let Some(client) = shared.as_ref().filter(|client| !client.state().is_terminated()) {
            return Ok(client.clone());
        }
        let connector = Client::connector().with_session_timeout(self.ttl).with_fail_eagerly();
        let client = connector.connect(&self.cluster).await?;
        let epoch = epoch(&client).await?.map_or(0, |(epoch, _)| epoch);
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
        Ok(shared.insert(client).clone())
    }

    /// Begins a new session with the next lock. An attempt that was given up may have left a node behind that nobody knows
    /// of, and that would stand in the way for as long as its session lives: until its last lock is given back.
    async fn end_session(&self, given_up: SessionId) {
        let mut shared = self.client.lock().await;
        if shared.as_ref().is_some_and(|client| client.session_id() == given_up) {
            *shared = None;
        }
    }

    async fn take_locks(&self, client: &Client, holds: &Holds) -> Result<(Vec<OwnedLockClient>, Vec<i64>), Error> {
        let mut skus: Vec<&str> = holds.iter().map(|(sku, _)| sku).collect();
        skus.sort_unstable();
        let (mut locks, mut tokens) = (Vec::with_capacity(skus.len()), Vec::with_capacity(skus.len()));
        for sku in skus {
            let folder = format!("{FOLDER}/{}", node(sku));
            let prefix = LockPrefix::new_curator(&folder, "lock-")?;
            let ancestors = CreateMode::Persistent.with_acls(Acls::anyone_all());
            let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(ancestors)?;
            let lock = client.lock(prefix, b"", options).await?.into_owned();
            let sequence = lock.lock_path().rsplit_once('-').and_then(|(_, sequence)| sequence.parse::<i64>().ok());
            let sequence = sequence.filter(|sequence| *sequence >= 0).ok_or(Error::RuntimeInconsistent)?;
            // Zero is no token.
            tokens.push((self.epoch.load(Ordering::Relaxed) << EPOCH_SHIFT) + sequence + 1);
            locks.push(lock);
        }
        Ok((locks, tokens))
    }

    /// Has begun another epoch if ZooKeeper counts behind Postgres although the lock is held.
    async fn begin_epoch(&self, lock: &OwnedLockClient, fence: i64) -> Result<(), Error> {
        let client = lock.client();
        if client.check_stat(lock.lock_path()).await?.is_none() {
            return Ok(()); // it was the lock that was lost
        }
        let above = (fence >> EPOCH_SHIFT) + 1;
        let next = match epoch(client).await? {
            // Another process has done it.
            Some((epoch, _)) if epoch >= above => epoch,
            Some((_, version)) => {
                client.set_data(EPOCH, above.to_string().as_bytes(), Some(version)).await?;
                above
            }
            None => {
                let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                client.create(EPOCH, above.to_string().as_bytes(), &options).await?;
                above
            }
        };
        self.epoch.fetch_max(next, Ordering::Relaxed);
        Ok(())
    }
}

/// The epoch that ZooKeeper knows, with its node's version.
async fn epoch(client: &Client) -> Result<Option<(i64, i32)>, Error> {
    match client.get_data(EPOCH).await {
        Ok((data, stat)) => {
            let epoch = std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok());
            Ok(Some((epoch.ok_or(Error::RuntimeInconsistent)?, stat.version)))
        }
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A SKU as the name of a node.
fn node(sku: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut name = String::with_capacity(sku.len());
    for byte in sku.bytes() {
        match plain(byte) {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[tonic::async_trait]
impl Strategy for ZookeeperLock {
    fn name(&self) -> Name {
        Name::ZookeeperLock
    }

    async fn enter(&self, branch: &PreparedBranch<Holds>) -> Result<(), String> {
        let until = Instant::now() + self.wait;
        let late = || format!("the lock was not to be had within {} ms", self.wait.as_millis());
        let denied = |error| format!("ZooKeeper does not give the lock: {error}");
        let client = timeout_at(until, self.session()).await.map_err(|_| late())?.map_err(denied)?;
        let why = match timeout_at(until, self.take_locks(&client, &branch.branch)).await {
            Ok(Ok((locks, tokens))) => {
                self.entered.enter(branch.transaction_id, locks, tokens);
                return Ok(());
            }
            Ok(Err(error)) => denied(error),
            Err(_) => late(),
        };
        self.end_session(client.session_id()).await;
        Err(why)
    }

    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(branches.len());
        for branch in branches {
            votes.push(self.entered.take(connection, branch, &self.counters).await?);
        }
        Ok(votes)
    }

    async fn leave(&self, transaction_id: Uuid) {
        // The locks are given back as they are dropped.
        let Some((locks, beaten_by)) = self.entered.leave(transaction_id) else { return };
        let (Some(lock), Some(fence)) = (locks.first(), beaten_by) else { return };
        match timeout(self.wait, self.begin_epoch(lock, fence)).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => tracing::warn!(%error, "no new epoch was begun; the next one tries again"),
            Err(_) => tracing::warn!("no new epoch was begun in time; the next one tries again"),
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_one_node_whatever_it_is_called() {
        for (sku, name) in [("85123A", "85123A"), ("a/b", "a%2Fb"), (".", "%2E"), ("ü", "%C3%BC"), ("a-1", "a%2D1")] {
            assert_eq!(node(sku), name);
        }
    }
}
