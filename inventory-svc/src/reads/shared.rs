//! Readings in Redis, for all processes. It is a help and never needed: one that does not answer at once is left alone for a
//! while, and the database is asked.
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use participant::Pool;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, cmd};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::domain::{Balance, Marks, Reading, Stock, WhenOut};
use crate::store;

/// How long an answer is waited for, and a connection.
const WITHIN: Duration = Duration::from_millis(30);
/// For how long one that has failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Answers of each of KEYS what is kept, and for how long still.
const GET: &str = "
local found = {}
for place, key in ipairs(KEYS) do
    found[place * 2 - 1] = redis.call('GET', key)
    found[place * 2] = redis.call('PTTL', key)
end
return found";
/// Keeps each of KEYS as ARGV[2..] for ARGV[1] milliseconds, unless something newer is kept: each begins with its version.
const PUT: &str = "
for place, key in ipairs(KEYS) do
    local kept = redis.call('GET', key)
    local version = tonumber(string.match(ARGV[place + 1], '^%d+'))
    if not kept or tonumber(string.match(kept, '^%d+')) <= version then
        redis.call('SET', key, ARGV[place + 1], 'PX', ARGV[1])
    end
end";

/// A Redis.
pub struct Shared {
    client: Client,
    pool: Pool,
    max_age: Duration,
    /// Part of all keys: a Redis may serve several inventories.
    id: OnceCell<Uuid>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    failed: Option<Instant>,
}

/// A reading as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    figures: [i64; 6],
    marks: i32,
    update_time: i64,
    low_at: i64,
    when_out: WhenOut,
    as_of: i64,
}

impl Shared {
    /// A server, to which nothing is connected yet.
    pub fn new(client: Client, pool: Pool, max_age: Duration) -> Self {
        Shared { client, pool, max_age, id: OnceCell::new(), state: Mutex::default() }
    }

    /// What is kept of these, each with when it was loaded.
    pub async fn get(&self, skus: &[String]) -> Vec<(String, Arc<Reading>, Instant)> {
        let asked = Instant::now();
        let Some(keys) = self.keys(skus.iter().map(String::as_str)).await else { return Vec::new() };
        let Some(found) = self.run::<Vec<redis::Value>>(GET, &keys, &[]).await else { return Vec::new() };
        let pairs = found.chunks_exact(2).zip(skus).filter_map(|(pair, sku)| {
            let [text, left] = pair else { return None };
            let text = String::from_redis_value(text.clone()).ok()?;
            let left = u64::try_from(i64::from_redis_value(left.clone()).ok()?).ok()?;
            let age = self.max_age.checked_sub(Duration::from_millis(left))?;
            Some((sku.clone(), Arc::new(decode(sku, &text)?), asked.checked_sub(age)?))
        });
        pairs.collect()
    }

    /// Keeps readings that were loaded after `loaded`, without anybody waiting for it.
    pub fn put(self: Arc<Self>, readings: Vec<Arc<Reading>>, loaded: Instant) {
        if readings.is_empty() || self.is_left_alone() {
            return;
        }
        tokio::spawn(async move {
            let Some(left) = self.max_age.checked_sub(loaded.elapsed()).map(|left| left.as_millis()) else { return };
            let Some(keys) = self.keys(readings.iter().map(|reading| reading.stock.sku.as_str())).await else { return };
            let arguments: Vec<String> = std::iter::once(left.max(1).to_string())
                .chain(readings.iter().map(|reading| encode(reading)))
                .collect();
            self.run::<()>(PUT, &keys, &arguments).await;
        });
    }

    /// Forgets a SKU, without anybody waiting for it.
    pub fn forget(self: Arc<Self>, sku: String) {
        tokio::spawn(async move {
            let Some(keys) = self.keys(std::iter::once(sku.as_str())).await else { return };
            self.run::<()>("redis.call('DEL', KEYS[1])", &keys, &[]).await;
        });
    }

    /// All keys hash to one slot of a cluster.
    async fn keys(&self, skus: impl Iterator<Item = &str>) -> Option<Vec<String>> {
        let id = self.id.get_or_try_init(|| store::reads::id(&self.pool)).await.ok()?;
        Some(skus.map(|sku| format!("{{assent:{id}}}:stock:{sku}")).collect())
    }

    /// Runs a script, if the server answers at once; after it has not, it is left alone.
    async fn run<T: FromRedisValue>(&self, script: &str, keys: &[String], arguments: &[String]) -> Option<T> {
        if self.is_left_alone() {
            return None;
        }
        let ran = async {
            let mut connection = self.connection().await?;
            let mut command = cmd("EVAL");
            command.arg(script).arg(keys.len()).arg(keys).arg(arguments).query_async(&mut connection).await
        };
        let ran: Result<T, String> = match tokio::time::timeout(WITHIN, ran).await {
            Ok(ran) => ran.map_err(|error: RedisError| error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", WITHIN.as_millis())),
        };
        let failed = match ran {
            Ok(answer) => return Some(answer),
            Err(failed) => failed,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_none() {
            tracing::warn!(%failed, "Redis does not help with readings; the database is asked");
        }
        *state = State { connection: None, failed: Some(Instant::now()) };
        None
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let kept = self.state.lock().unwrap_or_else(PoisonError::into_inner).connection.clone();
        if let Some(connection) = kept {
            return Ok(connection);
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(Some(WITHIN));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
            State { connection: Some(connection.clone()), failed: None };
        Ok(connection)
    }

    fn is_left_alone(&self) -> bool {
        let failed = self.state.lock().unwrap_or_else(PoisonError::into_inner).failed;
        failed.is_some_and(|when| when.elapsed() < LEFT_ALONE)
    }
}

/// The version, a space, and the rest.
fn encode(reading: &Reading) -> String {
    let Balance { on_hand, held, reserved, buffer, damaged, quality_control } = reading.stock.balance;
    let kept = Kept {
        figures: [on_hand, held, reserved, buffer, damaged, quality_control],
        marks: reading.stock.marks.bits(),
        update_time: reading.stock.update_time.timestamp_micros(),
        low_at: reading.low_at,
        when_out: reading.when_out,
        as_of: reading.as_of.timestamp_micros(),
    };
    format!("{} {}", reading.stock.version, serde_json::to_string(&kept).unwrap_or_default())
}

/// None if it is nothing that was kept by this version of the program.
fn decode(sku: &str, text: &str) -> Option<Reading> {
    let (version, rest) = text.split_once(' ')?;
    let Kept { figures, marks, update_time, low_at, when_out, as_of } = serde_json::from_str(rest).ok()?;
    let [on_hand, held, reserved, buffer, damaged, quality_control] = figures;
    let time = DateTime::<Utc>::from_timestamp_micros;
    let balance = Balance { on_hand, held, reserved, buffer, damaged, quality_control };
    let stock = Stock {
        sku: sku.to_owned(),
        balance,
        version: version.parse().ok()?,
        update_time: time(update_time)?,
        marks: Marks::of_bits(marks),
    };
    Some(Reading { stock, low_at, when_out, as_of: time(as_of)? })
}
