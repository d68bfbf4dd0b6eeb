//! The relay: passes on what comes after each SKU's cursor, again and again.
//!
//! A round reads some SKUs' news; notes in the database, **forced**, which SKUs these are; sends; and moves the cursors. The forced
//! write has two purposes. Decisions are committed lazily, so what was read might still be lost in a crash of the database, and come
//! again as something else: the write comes after it in the log and proves it durable before anybody else hears of it. And
//! whoever goes on after a crash knows of which SKUs the stream may have more than their cursors say, and asks it.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::broker::{AT_ONCE, Broker, BrokerError};
use super::pending::Pending;
use super::{Condition, Settings, State};
use crate::store::{feed, ledger};

/// SKUs of one round, at most.
const SKUS: usize = 256;
/// SKUs that comparing finds at a time, at most.
const FOUND: usize = 1_000;
/// How long between two rounds, at least, if the first was not full: what comes in between goes together.
const BETWEEN: Duration = Duration::from_millis(5);
/// How long between looking for something that was told of and is not there yet.
const AGAIN: Duration = Duration::from_millis(20);
/// How long between two comparisons of all versions with the cursors, at least, and how many times as long as one takes.
const COMPARED_EVERY: Duration = Duration::from_millis(500);
const COMPARED_TIMES: u32 = 20;
/// How often who stands by looks whether it is its turn.
const TURN_EVERY: Duration = Duration::from_millis(500);
/// How long a round may take; then the connections are given up.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
/// How long it waits after a failure: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A lost connection of the relay must not keep its lock for long.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // Comparing reads all there is.
    ("enable_seqscan", "on"),
];

/// Why it has to begin anew.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("a round has not ended within {} s", ROUND_WITHIN.as_secs())]
    Silent,
}

/// The relay of a process.
pub struct Relay {
    name: String,
    settings: Settings,
    database: PgConnectOptions,
    pending: Arc<Pending>,
    state: Arc<State>,
}

impl Relay {
    /// A relay under this name.
    pub fn new(
        name: String,
        settings: Settings,
        database: PgConnectOptions,
        pending: Arc<Pending>,
        state: Arc<State>,
    ) -> Self {
        Relay { name, settings, database: database.options(KEEPALIVE), pending, state }
    }

    /// Relays whenever it can, for ever.
    pub async fn run(self) {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let Err(ended) = self.session().await;
            self.pending.collect(false);
            if began.elapsed() > PAUSE.1 {
                pause = PAUSE.0;
            }
            // That it was overtaken is no failure: it looks where the stream is now.
            if !matches!(ended, Ended::Broker(BrokerError::Overtaken)) {
                self.state.becomes(Condition::Failing(ended.to_string()));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits for its turn, then relays until something fails.
    async fn session(&self) -> Result<Infallible, Ended> {
        let mut connection = in_time(PgConnection::connect_with(&self.database)).await?;
        while !in_time(feed::lock(&mut connection)).await? {
            self.state.becomes(Condition::StandingBy);
            sleep(TURN_EVERY).await;
        }
        let broker = Broker::connect(&self.settings).await?;
        self.pending.collect(true);
        let mut session = Session { relay: self, connection, broker, compared: None };
        in_time(session.go_on()).await?;
        self.state.becomes(Condition::Relaying);
        loop {
            in_time(session.compare()).await?;
            in_time(session.round()).await?;
        }
    }
}

async fn in_time<T, E: Into<Ended>>(doing: impl Future<Output = Result<T, E>>) -> Result<T, Ended> {
    timeout(ROUND_WITHIN, doing).await.map_err(|_| Ended::Silent)?.map_err(Into::into)
}

/// A turn as the one who relays.
struct Session<'a> {
    relay: &'a Relay,
    connection: PgConnection,
    broker: Broker,
    /// When all was compared last, and how long that took.
    compared: Option<(Instant, Duration)>,
}

impl Session<'_> {
    /// Finds out where to go on: what the one before was sending may have arrived.
    async fn go_on(&mut self) -> Result<(), Ended> {
        let left = feed::take_over(&mut self.connection, &self.relay.name).await?;
        if self.broker.last() == 0 {
            // A new stream: it is to have all.
            feed::forget(&mut self.connection).await?;
        } else if i64::try_from(self.broker.last()).unwrap_or(i64::MAX) < left.stream_sequence {
            tracing::error!(had = left.stream_sequence, has = self.broker.last(), "the stream has lost messages");
            self.ask_about_all().await?;
        } else {
            self.ask_about(&left.in_flight).await?;
        }
        Ok(())
    }

    /// Moves the cursors of all SKUs to where the stream is. What it has nothing of begins anew.
    async fn ask_about_all(&mut self) -> Result<(), Ended> {
        let mut after = String::new();
        loop {
            let skus = feed::skus(&mut self.connection, &after, FOUND).await?;
            let Some(last) = skus.last() else { return Ok(()) };
            after.clone_from(last);
            self.ask_about(&skus).await?;
        }
    }

    async fn ask_about(&mut self, skus: &[String]) -> Result<(), Ended> {
        let broker = &self.broker;
        let asked = skus.iter().map(async |sku| Ok((sku.clone(), broker.last_of(sku).await?.unwrap_or_default())));
        let found: Vec<(String, i64)> = try_join_all(asked).await.map_err(Ended::Broker)?;
        let found: BTreeMap<String, i64> = found.into_iter().collect();
        Ok(feed::save(&mut self.connection, &found, self.broker.last()).await?)
    }

    /// Looks for SKUs that nobody has told of, when it is time.
    async fn compare(&mut self) -> Result<(), Ended> {
        let is_time = |(when, took): (Instant, Duration)| when.elapsed() >= COMPARED_EVERY.max(took * COMPARED_TIMES);
        if self.relay.pending.len() >= FOUND || !self.compared.is_none_or(is_time) {
            return Ok(());
        }
        let began = Instant::now();
        let found = feed::behind(&mut self.connection, FOUND).await?;
        // There may be more of them: look again as soon as these are through.
        self.compared = (found.len() < FOUND).then(|| (Instant::now(), began.elapsed()));
        self.relay.pending.add(found);
        Ok(())
    }

    async fn round(&mut self) -> Result<(), Ended> {
        let pending = &self.relay.pending;
        let skus = pending.take(SKUS);
        if skus.is_empty() {
            pending.told_within(COMPARED_EVERY).await;
            // It is told before it is committed.
            sleep(BETWEEN).await;
            return Ok(());
        }
        let mut passed_on = feed::cursors(&mut self.connection, &skus).await?;
        let each = (AT_ONCE / skus.len()).max(1);
        let limit = i64::try_from(each).unwrap_or(i64::MAX);
        let news = ledger::news(&mut self.connection, &passed_on, limit).await?;
        let mut moved: BTreeMap<String, i64> = BTreeMap::new();
        for movement in &news {
            moved.insert(movement.sku.clone(), movement.sequence);
        }
        if !news.is_empty() {
            let in_flight: Vec<&str> = moved.keys().map(String::as_str).collect();
            feed::announce(&mut self.connection, &in_flight).await?;
            self.broker.publish(&news).await?;
            feed::save(&mut self.connection, &moved, self.broker.last()).await?;
            passed_on.extend(moved.iter().map(|(sku, sequence)| (sku.clone(), *sequence)));
        }
        for (sku, sequence) in &passed_on {
            pending.settle(sku, *sequence, moved.contains_key(sku));
        }
        match news.len() {
            0 => sleep(AGAIN).await,
            many if many < AT_ONCE / 2 => sleep(BETWEEN).await,
            _ => (),
        }
        Ok(())
    }
}
