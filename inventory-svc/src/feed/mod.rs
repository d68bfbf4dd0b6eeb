//! The feed: every movement of the ledger, passed on to a stream of NATS JetStream, in the order of each SKU.
//!
//! The ledger is the outbox. It is written with the stock in one local transaction, it is only ever added to, and within a SKU it
//! has no gaps, because a movement is written under the lock of the SKU's row. So how far a SKU was passed on is one number, and
//! what comes after it is all that is missing, whoever commits late. A second table of what is to be sent would cost every order a
//! row more, and would have to be emptied; a horizon over all transactions would need a column with its index.
//!
//! - [`pending`] knows which SKUs have news: what this process writes it is told; what others write, and what was missed, is found
//!   by comparing versions with cursors now and then.
//! - [`relay`] passes it on, in one process at a time: it holds a lock in the database.
//! - [`broker`] is the stream: a message is taken only after the one that was stored last, so that nobody who has lost the lock can
//!   put anything out of order.
mod broker;
mod message;
mod pending;
mod relay;
mod state;

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;

use crate::changes;
use pending::Pending;
use relay::Relay;
pub use state::{Condition, State};

/// Where the ledger is passed on to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, as nats://host:port.
    pub urls: Vec<String>,
    /// The stream's name.
    pub stream: String,
    /// What the messages' subjects begin with.
    pub subject: String,
}

/// The feed of this process; clones share it.
#[derive(Clone)]
pub struct Feed {
    settings: Option<Settings>,
    state: Arc<State>,
}

impl Feed {
    /// A feed that is not started yet; without settings it never will be.
    pub fn new(settings: Option<Settings>) -> Self {
        Feed { settings, state: Arc::default() }
    }

    /// What it does.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where it leads, if anywhere.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Starts it, under a name for whoever asks. It has a thread of its own: orders don't wait while it packs messages.
    pub fn start(&self, name: String, database: PgConnectOptions) -> std::io::Result<()> {
        let Some(settings) = self.settings.clone() else { return Ok(()) };
        let pending = Arc::new(Pending::default());
        changes::listen(&pending);
        let relay = Relay::new(name, settings, database, pending, self.state.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("feed".to_owned()).spawn(move || runtime.block_on(relay.run()))?;
        Ok(())
    }
}
