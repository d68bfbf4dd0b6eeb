//! Faults under load: what hurts a system in production, how long clients wait meanwhile, and what must be true after.
mod collection;
mod coordinators;
mod databases;
mod participants;
mod restarts;

use std::time::{Duration, Instant};

use tests::{Aftermath, Books, Client, Load, SetUp, System, until};

const CLIENTS: usize = 8;

/// A system, its clients (one for each coordinator) and its books.
struct Scene {
    system: System,
    clients: Vec<Client>,
    books: Books,
}

impl Scene {
    async fn start(set_up: SetUp) -> Self {
        let system = set_up.start().await;
        let clients: Vec<Client> = (0..system.coordinators().count()).map(|place| system.client_of(place)).collect();
        let books = Books::open(&clients[0]).await;
        Scene { system, clients, books }
    }

    /// Clients at work on all coordinators; some orders are confirmed already.
    async fn load(&self, name: &str) -> Load {
        let load = Load::start(&self.clients, CLIENTS, name);
        confirms(&load, 20).await;
        load
    }

    /// Ends the load, and insists that all is well since everything was `up` again.
    async fn conclude(&mut self, fault: &str, load: Load, up: Instant) -> Aftermath {
        let requests = load.stop().await;
        let client = self.clients.last().expect("a client");
        let after = Aftermath::see(&self.system, client, &mut self.books, requests, up).await;
        after.is_sound(fault);
        after
    }
}

/// Waits until so many more orders are confirmed; returns how long it took.
async fn confirms(load: &Load, more: usize) -> Duration {
    let confirmed = load.confirmed() + more;
    until("orders are confirmed", Duration::from_secs(20), async || load.confirmed() >= confirmed).await
}
