//! A system under load that is hurt, and what must be true after.
use std::time::{Duration, Instant};

use crate::aftermath::Aftermath;
use crate::books::Books;
use crate::client::Client;
use crate::load::{Load, Request};
use crate::system::{SetUp, System};
use crate::until::until;

/// Clients at work at one time.
pub const CLIENTS: usize = 8;

/// A system, its clients (one for each coordinator) and its books.
pub struct Scene {
    /// The system.
    pub system: System,
    /// Clients, in the order of the coordinators.
    pub clients: Vec<Client>,
    /// What was ordered.
    pub books: Books,
}

impl Scene {
    /// Starts a system, with stock and accounts.
    pub async fn start(set_up: SetUp) -> Self {
        let system = set_up.start().await;
        let clients: Vec<Client> = (0..system.coordinators().count()).map(|place| system.client_of(place)).collect();
        let books = Books::open(&clients[0]).await;
        Scene { system, clients, books }
    }

    /// Clients at work on all coordinators; some orders are confirmed already.
    pub async fn load(&self, name: &str) -> Load {
        let load = Load::start(&self.clients, CLIENTS, name);
        confirms(&load, 20).await;
        load
    }

    /// Ends the load, and insists that all is well since everything was `up` again.
    pub async fn conclude(&mut self, fault: &str, load: Load, up: Instant) -> Aftermath {
        let requests = load.stop().await;
        self.conclude_with(fault, requests, up).await
    }

    /// The same, where the clients have stopped already.
    pub async fn conclude_with(&mut self, fault: &str, requests: Vec<Request>, up: Instant) -> Aftermath {
        let client = self.clients.last().expect("a client");
        let after = Aftermath::see(&self.system, client, &mut self.books, requests, up).await;
        after.is_sound(fault);
        after
    }
}

/// Waits until so many more orders are confirmed; returns how long it took.
pub async fn confirms(load: &Load, more: usize) -> Duration {
    let confirmed = load.confirmed() + more;
    until("orders are confirmed", Duration::from_secs(20), async || load.confirmed() >= confirmed).await
}
