//! Spreads cases over systems that run side by side.
use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError, mpsc};

use futures::FutureExt;
use tests::{Books, Service, SetUp, System, bystander};
use tokio::runtime::Builder;

use crate::case::{Case, Needs};
use crate::report::Outcome;
use crate::run::Run;

/// Systems at one time.
const AT_ONCE: usize = 2;
/// Cases on one system: its doctor reads all that ever happened there.
const CASES_PER_SYSTEM: usize = 15;
/// Where garbage is needed: orders live so long at most, and are garbage after that.
const TIMEOUT_MS: u64 = 400;
/// And so much later it is forgotten what a request was answered. No client here repeats one so late.
const RETENTION_MS: u64 = 15_000;

/// Runs cases; tells what came of each as soon as it is over.
pub fn run(cases: Vec<Case>, mut tell: impl FnMut(Outcome)) {
    let of = |needs: &[Needs]| cases.iter().filter(|case| needs.contains(&case.needs())).cloned().collect();
    let groups: [Vec<Case>; 3] =
        [of(&[Needs::Garbage]), of(&[Needs::GarbageById]), of(&[Needs::Orders, Needs::Recovery])];
    let groups = groups.into_iter().flat_map(|cases| cut(&cases));
    let queue: Mutex<VecDeque<Vec<Case>>> = Mutex::new(groups.collect());
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(mut group) = next() {
                    while !group.is_empty() {
                        group = runtime.block_on(on_one_system(group, &sender));
                    }
                }
            });
        }
        drop(sender);
        outcomes.into_iter().for_each(&mut tell);
    });
}

fn cut(cases: &[Case]) -> Vec<Vec<Case>> {
    cases.chunks(CASES_PER_SYSTEM).map(<[Case]>::to_vec).collect()
}

async fn set_up(cases: &[Case]) -> SetUp {
    let needs = cases.first().map(Case::needs);
    let set_up = match needs {
        Some(Needs::Garbage | Needs::GarbageById) => {
            let set_up = System::set_up().collected_after_ms(0);
            let set_up = set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
            set_up.set(Service::Coordinator, "ASSENT_REQUEST_RETENTION_MS", RETENTION_MS)
        }
        _ => System::set_up(),
    };
    match needs {
        Some(Needs::GarbageById) => set_up.participant_too("bystander", &bystander().await),
        _ => set_up,
    }
}

/// Runs cases one after the other, until one goes wrong; returns the rest. What is broken stays broken: the others could
/// not be told from this one.
async fn on_one_system(cases: Vec<Case>, outcomes: &mpsc::Sender<Outcome>) -> Vec<Case> {
    let system = set_up(&cases).await.start().await;
    let client = system.client();
    let mut books = Books::open(&client).await;
    let mut cases = cases.into_iter();
    for case in cases.by_ref() {
        let run = Run { case: &case, system: &system, client: &client };
        let outcome = match AssertUnwindSafe(run.run(&mut books)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Outcome { violations: vec![said(&*panic)], ..Outcome::of(&case) },
        };
        let failed = !outcome.violations.is_empty();
        if failed {
            println!("{}", system.logs());
        }
        outcomes.send(outcome).expect("somebody listens");
        if failed {
            break;
        }
    }
    cases.collect()
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "it panicked".to_owned())
}
