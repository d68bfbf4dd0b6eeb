//! Clients that keep a system busy, each with one order after the other, and remember every answer.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::basket::Basket;
use crate::books::Books;
use crate::client::Client;

/// After an answer that says that something is out of order, or of a client that is alone.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// The slowest of its answers.
    pub fn slowest(&self) -> Duration {
        self.answers.iter().map(|(_, took)| *took).max().unwrap_or_default()
    }

    /// Whether any answer told how it ended.
    pub fn is_known(&self) -> bool {
        self.answers.iter().any(|(answer, _)| answer.is_known())
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<Vec<Request>>>,
}

#[derive(Default)]
struct Counts {
    asked: AtomicUsize,
    answered: AtomicUsize,
    confirmed: AtomicUsize,
}

impl Load {
    /// Starts `count` clients, spread over the coordinators that `clients` ask. Their request ids begin with `prefix`.
    /// One that is alone takes a breath after each order, so that what is written lazily for it rides with nothing of the
    /// next.
    pub fn start(clients: &[Client], count: usize, prefix: &str) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<Counts>::default());
        let start = |number: usize| {
            let own = clients[number % clients.len()].clone();
            let other = clients[(number + 1) % clients.len()].clone();
            let (stop, counts, name) = (stop.clone(), counts.clone(), prefix.to_owned());
            tokio::spawn(Worker { number, alone: count == 1, own, other, stop, counts, name }.work())
        };
        let tasks = (0..count).map(start).collect();
        Load { stop, counts, tasks }
    }

    /// How many requests were answered so far, whatever the answer.
    pub fn answered(&self) -> usize {
        self.counts.answered.load(Ordering::Relaxed)
    }

    /// How many requests wait for an answer now.
    pub fn under_way(&self) -> usize {
        // In this order, so that it is never less than nothing.
        let answered = self.answered();
        self.counts.asked.load(Ordering::Relaxed).saturating_sub(answered)
    }

    /// How many orders were confirmed so far.
    pub fn confirmed(&self) -> usize {
        self.counts.confirmed.load(Ordering::Relaxed)
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
    alone: bool,
    own: Client,
    other: Client,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
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
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            let answers = match turn % 10 {
                // An impatient one: twice at a time, where there are two coordinators through both.
                7 => {
                    let (one, two) =
                        tokio::join!(place(&self.own, &request_id, &basket), place(&self.other, &request_id, &basket));
                    vec![one, two]
                }
                _ => vec![place(&self.own, &request_id, &basket).await],
            };
            self.counts.answered.fetch_add(1, Ordering::Relaxed);
            let confirmed = answers.iter().any(|(answer, _)| answer.confirmed().is_some());
            self.counts.confirmed.fetch_add(usize::from(confirmed), Ordering::Relaxed);
            let refused = answers.iter().any(|(answer, _)| matches!(answer, Answer::Refused { .. }));
            requests.push(Request { request_id, basket, answers });
            if self.alone || (!confirmed && !refused) {
                // Nobody places the next order at once at a shop that is down.
                tokio::time::sleep(PAUSE).await;
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
