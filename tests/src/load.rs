//! Clients that keep a system busy, each with one order after the other, and remember every answer.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::basket::Basket;
use crate::books::Books;
use crate::client::Client;

/// A request, and what was answered each time it was made.
#[derive(Debug, Clone)]
pub struct Request {
    /// The client's name for it.
    pub request_id: String,
    /// Its content.
    pub basket: Basket,
    /// The answers, and how long each took.
    pub answers: Vec<(Answer, Duration)>,
}

impl Request {
    /// Whether any answer told how it ended.
    pub fn is_known(&self) -> bool {
        self.answers.iter().any(|(answer, _)| answer.is_known())
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    /// Starts `count` clients, spread over the coordinators that `clients` ask. Their request ids begin with `prefix`.
    pub fn start(clients: &[Client], count: usize, prefix: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let start = |number: usize| {
            let own = clients[number % clients.len()].clone();
            let other = clients[(number + 1) % clients.len()].clone();
            let worker =
                Worker { number, own, other, stop: stop.clone(), answered: answered.clone(), name: prefix.to_owned() };
            tokio::spawn(worker.work())
        };
        let tasks = (0..count).map(start).collect();
        Load { stop, answered, tasks }
    }

    /// How many requests were answered so far, whatever the answer.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets every client finish the request it is at, without waiting for that.
    pub fn wind_down(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the clients' last answers; returns all requests.
    pub async fn stop(self) -> Vec<Request> {
        self.wind_down();
        let mut requests = Vec::new();
        for task in self.tasks {
            requests.extend(task.await.expect("a client"));
        }
        requests
    }
}

struct Worker {
    number: usize,
    own: Client,
    other: Client,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    name: String,
}

impl Worker {
    async fn work(self) -> Vec<Request> {
        let mut requests = Vec::new();
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let request_id = format!("{}-{}-{turn}", self.name, self.number);
            let basket = Books::basket(self.number, turn);
            let answers = match turn % 10 {
                // An impatient one: twice at a time, where there are two coordinators through both.
                7 => {
                    let (one, two) =
                        tokio::join!(place(&self.own, &request_id, &basket), place(&self.other, &request_id, &basket));
                    vec![one, two]
                }
                _ => vec![place(&self.own, &request_id, &basket).await],
            };
            self.answered.fetch_add(1, Ordering::Relaxed);
            let known = answers.iter().any(|(answer, _)| answer.is_known());
            requests.push(Request { request_id, basket, answers });
            if !known {
                // Nobody places the next order at once at a shop that is down.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        requests
    }
}

/// Places an order and takes the time.
pub async fn place(client: &Client, request_id: &str, basket: &Basket) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = client.place(request_id, basket).await;
    (answer, began.elapsed())
}
