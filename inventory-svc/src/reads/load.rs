//! Readings from the database: one question at a time, and whoever comes meanwhile shares the next. So a SKU that everybody
//! looks at costs the database no more than one that somebody looks at.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use participant::{Pool, status};
use tonic::Status;

use crate::domain::Reading;
use crate::store;

/// SKUs of one question, about: a call may have so many more.
const AT_ONCE: usize = 2_000;

/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(5);

/// Found readings by SKU.
pub type Readings = Arc<HashMap<String, Arc<Reading>>>;

/// Who asks the database.
pub struct Loader {
    pool: Pool,
    next: Mutex<Arc<Question>>,
    /// Held while the database is asked.
    turn: tokio::sync::Mutex<()>,
    #[cfg(test)]
    questions: std::sync::atomic::AtomicU64,
}

/// A question of several who wait.
#[derive(Default)]
struct Question {
    skus: Mutex<BTreeSet<String>>,
    answer: OnceLock<Result<Readings, Status>>,
}

impl Loader {
    /// One for a database.
    pub fn new(pool: Pool) -> Self {
        Loader {
            pool,
            next: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            #[cfg(test)]
            questions: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Reads SKUs as they are at some time after this was called.
    pub async fn load(&self, skus: &[String]) -> Result<Readings, Status> {
        // Whoever waits for his turn waits for another's question as well.
        tokio::time::timeout(WITHIN, self.ask(skus)).await.unwrap_or_else(|_| {
            let message = format!("the service's database has not answered within {} ms", WITHIN.as_millis());
            Err(status::unavailable("DATABASE_UNAVAILABLE", message, &BTreeMap::new(), Duration::from_millis(200)))
        })
    }

    async fn ask(&self, skus: &[String]) -> Result<Readings, Status> {
        let question = self.join(skus);
        // Whoever has the turn first asks for all; if he goes away, the next one does.
        let _turn = self.turn.lock().await;
        if let Some(answer) = question.answer.get() {
            return answer.clone();
        }
        self.close(&question);
        let skus: Vec<String> = question.skus.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        #[cfg(test)]
        self.questions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let read = store::reads::read(&self.pool, &skus).await;
        let answer = read.map_err(|error| status::database(&error)).map(|readings| {
            Arc::new(readings.into_iter().map(|(sku, reading)| (sku, Arc::new(reading))).collect::<HashMap<_, _>>())
        });
        question.answer.get_or_init(|| answer).clone()
    }

    /// How often the database was asked.
    #[cfg(test)]
    pub fn questions(&self) -> u64 {
        self.questions.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn join(&self, wanted: &[String]) -> Arc<Question> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = next.skus.lock().unwrap_or_else(PoisonError::into_inner).len() >= AT_ONCE;
        if is_full {
            *next = Arc::default();
        }
        next.skus.lock().unwrap_or_else(PoisonError::into_inner).extend(wanted.iter().cloned());
        next.clone()
    }

    /// Nobody joins any more: it is about to be asked.
    fn close(&self, question: &Arc<Question>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&next, question) {
            *next = Arc::default();
        }
    }
}
