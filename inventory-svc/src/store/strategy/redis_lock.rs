//! Redis locks: a key per SKU, set for some time by whoever finds it free. The fencing token is counted in Redis with the
//! lock, by one script that takes all locks of an order or none, so nobody waits in a circle.
//!
//! Redis alone keeps nobody apart: a lock runs out while its holder is paused, and a server that is restarted or fails over
//! may have forgotten locks, and how far it had counted. Postgres refuses whoever is late ([`super::fenced`]); where it is
//! Redis that has forgotten, its counter is raised above what Postgres has seen.
use std::time::Duration;

use participant::{PreparedBranch, Refusal};
use rand::Rng;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value, cmd};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::fenced::Entered;
use super::{Counters, Locks, Name, Strategy};
use crate::domain::Holds;

/// Takes the locks KEYS[2..] for the owner ARGV[1] and ARGV[2] milliseconds, if all are free: answers the next token of the
/// counter KEYS[1], or nothing.
const TAKE: &str = "
for place = 2, #KEYS do if redis.call('EXISTS', KEYS[place]) == 1 then return false end end
for place = 2, #KEYS do redis.call('SET', KEYS[place], ARGV[1], 'PX', ARGV[2]) end
return redis.call('INCR', KEYS[1])";
/// Gives back those of the locks KEYS that are still the owner's, ARGV[1].
const GIVE_BACK: &str = "
for _, key in ipairs(KEYS) do if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end end";
/// Raises the counter KEYS[1] to ARGV[1], if it is below.
const RAISE: &str = "
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end";
/// All keys hash to one slot of a cluster.
const COUNTER: &str = "{assent}:fence";
const LOCK: &str = "{assent}:stock:";
/// The first pause before a lock is asked for again, and the longest.
const PAUSE_US: (u64, u64) = (500, 16_000);

/// Locks in Redis.
pub struct RedisLock {
    client: Client,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
    ttl: Duration,
    wait: Duration,
    entered: Entered<Held>,
    counters: Counters,
}

/// Locks that were taken, until they run out.
#[derive(Debug)]
struct Held {
    owner: String,
    keys: Vec<String>,
}

impl RedisLock {
    /// The strategy on a server, to which nothing is connected yet.
    pub fn new(locks: &Locks) -> anyhow::Result<Self> {
        // A server that does not answer is given up in time to try another connection.
        let within = locks.wait / 2;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(within)).set_response_timeout(Some(within));
        Ok(RedisLock {
            client: Client::open(locks.redis.as_str())?,
            config,
            connection: Mutex::default(),
            ttl: locks.ttl,
            wait: locks.wait,
            entered: Entered::default(),
            counters: Counters::default(),
        })
    }

    /// Runs a script; a connection on which that fails is used by nobody any more.
    async fn run(&self, script: &str, keys: &[String], arguments: &[String]) -> Result<Value, RedisError> {
        let mut connection = {
            let mut shared = self.connection.lock().await;
            match &*shared {
                Some(connection) => connection.clone(),
                None => {
                    shared.insert(self.client.get_multiplexed_async_connection_with_config(&self.config).await?).clone()
                }
            }
        };
        let ran = cmd("EVAL").arg(script).arg(keys.len()).arg(keys).arg(arguments).query_async(&mut connection).await;
        if ran.is_err() {
            *self.connection.lock().await = None;
        }
        ran
    }

    /// Takes the locks as soon as they are free.
    async fn take_locks(&self, held: &Held) -> Result<i64, String> {
        let keys: Vec<String> = std::iter::once(COUNTER.to_owned()).chain(held.keys.iter().cloned()).collect();
        let arguments = [held.owner.clone(), self.ttl.as_millis().to_string()];
        let mut most = PAUSE_US.0;
        loop {
            match self.run(TAKE, &keys, &arguments).await {
                Ok(Value::Int(token)) => return Ok(token),
                Ok(_) => self.counters.retry(),
                Err(error) => return Err(format!("Redis does not give the lock: {error}")),
            }
            let pause = rand::rng().random_range(most / 2..=most);
            sleep(Duration::from_micros(pause)).await;
            most = (most * 2).min(PAUSE_US.1);
        }
    }

    async fn give_back(&self, held: &Held) {
        if let Err(error) = self.run(GIVE_BACK, &held.keys, std::slice::from_ref(&held.owner)).await {
            tracing::debug!(%error, "a lock is not given back; it runs out");
        }
    }
}

#[tonic::async_trait]
impl Strategy for RedisLock {
    fn name(&self) -> Name {
        Name::RedisLock
    }

    async fn enter(&self, branch: &PreparedBranch<Holds>) -> Result<(), String> {
        let keys: Vec<String> = branch.branch.iter().map(|(sku, _)| format!("{LOCK}{sku}")).collect();
        // Not the transaction's id: the same may be sent twice.
        let held = Held { owner: Uuid::new_v4().to_string(), keys };
        match timeout_at(Instant::now() + self.wait, self.take_locks(&held)).await {
            Ok(Ok(token)) => {
                let tokens = vec![token; held.keys.len()];
                self.entered.enter(branch.transaction_id, held, tokens);
                Ok(())
            }
            Ok(Err(cause)) => Err(cause),
            Err(_) => Err(format!("the lock was not to be had within {} ms", self.wait.as_millis())),
        }
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
        let Some((held, beaten_by)) = self.entered.leave(transaction_id) else { return };
        if let Some(fence) = beaten_by {
            let raised = self.run(RAISE, &[COUNTER.to_owned()], &[fence.to_string()]).await;
            tracing::warn!(fence, ok = raised.is_ok(), "Redis had not counted as far as Postgres; raised its counter");
        }
        self.give_back(&held).await;
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
