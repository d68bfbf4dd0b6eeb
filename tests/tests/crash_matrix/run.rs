//! Runs cases: load, death, restart, and what must be true then.
use std::time::{Duration, Instant};

use tests::{Aftermath, Books, Client, Load, Server, Service, System, until};

use crate::case::Case;
use crate::report::{self, Outcome};

const CLIENTS: usize = 10;
/// How soon a place must be passed under load.
const DIES_WITHIN: Duration = Duration::from_secs(20);
/// How long clients go on while the process is dead.
const DEAD_FOR: Duration = Duration::from_millis(150);
/// Cases on one system: its doctor reads all that ever happened there.
const CASES_PER_SYSTEM: usize = 15;

/// Runs cases one after the other, and insists that all of them end well.
pub async fn all(cases: Vec<Case>) {
    let mut outcomes = Vec::new();
    report::print_head();
    for some in cases.chunks(CASES_PER_SYSTEM) {
        let system = System::start().await;
        let client = system.client();
        let mut books = Books::open(&client).await;
        for case in some {
            let outcome = Run { case, system: &system, client: &client }.run(&mut books).await;
            report::print(&outcome);
            let failed = !outcome.violations.is_empty();
            outcomes.push(outcome);
            if failed {
                // What is broken stays broken: the other cases could not be told from this one.
                println!("{}", system.logs());
                break;
            }
        }
    }
    report::conclude(&outcomes);
}

struct Run<'a> {
    case: &'a Case,
    system: &'a System,
    client: &'a Client,
}

impl Run<'_> {
    async fn run(&self, books: &mut Books) -> Outcome {
        let Case { service, point, hit } = self.case;
        let (dying, armed) = (self.system.server(*service), format!("{point}#{hit}"));
        let mut outcome = Outcome { case: self.case.to_string(), kills: 1, ..Outcome::default() };
        let load = match self.case.needs_recovery() {
            false => {
                self.arm(dying, &armed).await;
                self.load()
            }
            true => {
                outcome.kills += 1;
                self.load_until_recovery(dying, &armed).await
            }
        };
        if !dying.dies_at(point, DIES_WITHIN).await {
            outcome.violations.push("the place was never passed".to_owned());
        }
        tokio::time::sleep(DEAD_FOR).await;
        load.wind_down();
        dying.kill();
        dying.start_healthy().await;
        let up = Instant::now();
        let requests = load.stop().await;
        let after = Aftermath::see(self.system, self.client, books, requests, up).await;
        outcome.violations.extend(after.violations);
        Outcome { answers: after.answers, settled: after.settled, ..outcome }
    }

    /// Starts a process that will die. It may do so before it is healthy.
    async fn arm(&self, dying: &Server, armed: &str) {
        dying.kill();
        dying.start_with(&[("ASSENT_CRASH_POINT", armed)]);
        let what = format!("{} is healthy or dead", dying.name);
        until(&what, Duration::from_secs(20), async || dying.ended() || dying.is_healthy().await).await;
    }

    fn load(&self) -> Load {
        // Cases share a system, and request ids are names for ever.
        let prefix = self.case.to_string().replace(['#', ' '], "-");
        Load::start(std::slice::from_ref(self.client), CLIENTS, &prefix)
    }

    /// Has the coordinator die with many orders half way, because one participant is frozen, and starts it again: it
    /// recovers them, while the participant wakes up and meets both the late prepares and the fences.
    async fn load_until_recovery(&self, dying: &Server, armed: &str) -> Load {
        let coordinator = self.system.server(Service::Coordinator);
        let others = Service::PARTICIPANTS.into_iter().filter(|other| *other != dying.service);
        let frozen = self.system.server(others.last().expect("another participant"));
        if dying.service != Service::Coordinator {
            self.arm(dying, armed).await;
        }
        let load = self.load();
        until("some orders are answered", Duration::from_secs(20), async || load.answered() >= 10).await;
        frozen.pause();
        let records = self.system.pool(Service::Coordinator);
        until("most orders are half way", Duration::from_secs(5), async || {
            // Not those of this moment: they may be decided already.
            let staging = sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM record WHERE state = 1 AND create_time < now() - interval '200 milliseconds'",
            );
            staging.fetch_one(&records).await.unwrap() >= 8
        })
        .await;
        coordinator.kill();
        frozen.resume();
        if dying.service == Service::Coordinator {
            coordinator.start_with(&[("ASSENT_CRASH_POINT", armed)]);
        } else {
            coordinator.start();
        }
        load
    }
}
