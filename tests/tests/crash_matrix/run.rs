//! Runs a case: load, death, restart, and what must be true then.
use std::time::{Duration, Instant};

use tests::{Aftermath, Books, Client, Load, Server, Service, System, until};

use crate::case::{Case, Dies, Needs};
use crate::report::Outcome;

/// How soon a place must be passed under load. The first records that may be forgotten take most of it.
const PASSED_WITHIN: Duration = Duration::from_secs(40);
/// How long clients go on while something is dead, or after it is back.
const GOES_ON_FOR: Duration = Duration::from_millis(150);
/// How soon all garbage must be collected.
const COLLECTED_WITHIN: Duration = Duration::from_secs(10);

/// A case on a system.
pub struct Run<'a> {
    pub case: &'a Case,
    pub system: &'a System,
    pub client: &'a Client,
}

impl Run<'_> {
    /// Runs it to its end.
    pub async fn run(&self, books: &mut Books) -> Outcome {
        let mut outcome = Outcome::of(self.case);
        let load = match self.case.needs() {
            Needs::Orders => {
                self.arm().await;
                self.load()
            }
            Needs::Recovery => self.load_until_recovery().await,
            Needs::Garbage | Needs::GarbageById => self.load_with_garbage().await,
        };
        // Where more than orders is needed, a process has been killed under load already.
        outcome.processes += u32::from(self.case.needs() != Needs::Orders);
        let passed = self.dying().halts_at(&self.case.point, PASSED_WITHIN).await;
        if !passed {
            outcome.violations.push("the place was never passed".to_owned());
        }
        // One client alone may just be between two orders, and all are if their coordinator has just died.
        let is_certain = self.case.needs() == Needs::Orders && self.case.clients() > 1;
        if is_certain && self.case.dies != Dies::Service && load.under_way() == 0 {
            outcome.violations.push("no order was under way".to_owned());
        }
        match self.case.dies {
            Dies::Postgres if passed => self.lose_the_database(&mut outcome).await,
            Dies::Both if passed => self.lose_both(&load, &mut outcome).await,
            _ => self.lose_the_process(&load, &mut outcome).await,
        }
        let up = Instant::now();
        if self.case.dies == Dies::Postgres {
            tokio::time::sleep(GOES_ON_FOR).await;
        }
        let requests = load.stop().await;
        let within = self.case.settles_within();
        let client = if self.case.is_of_sagas() { &self.client.in_saga_mode() } else { self.client };
        let after = Aftermath::see_later(self.system, client, books, requests, up, within).await;
        if matches!(self.case.needs(), Needs::Garbage | Needs::GarbageById) {
            self.system.collected(COLLECTED_WITHIN).await;
        }
        outcome.violations.extend(after.violations);
        Outcome { answers: after.answers, settled: after.settled, ..outcome }
    }

    fn dying(&self) -> &Server {
        self.system.server(self.case.service)
    }

    /// Whether the database is there again before its service finds out that it was away; else the service meets a port
    /// at which nobody answers.
    fn database_is_back_first(&self) -> bool {
        self.case.hit == 1
    }

    async fn lose_the_process(&self, load: &Load, outcome: &mut Outcome) {
        outcome.processes += 1;
        tokio::time::sleep(GOES_ON_FOR).await;
        load.wind_down();
        // It lives if it never came to the place.
        self.dying().kill();
        self.dying().start_healthy().await;
    }

    /// The process stands at the place while its Postgres dies, and goes on from there.
    async fn lose_the_database(&self, outcome: &mut Outcome) {
        let (database, halted) = (self.system.database(self.case.service), Instant::now());
        outcome.databases += 1;
        database.kill();
        if self.database_is_back_first() {
            database.start_again();
            self.dying().resume();
            outcome.frozen = halted.elapsed();
        } else {
            self.dying().resume();
            outcome.frozen = halted.elapsed();
            tokio::time::sleep(GOES_ON_FOR).await;
            database.start_again();
        }
    }

    /// The process stands at the place while its Postgres dies, and goes on no more.
    async fn lose_both(&self, load: &Load, outcome: &mut Outcome) {
        let database = self.system.database(self.case.service);
        outcome.processes += 1;
        outcome.databases += 1;
        database.kill();
        self.dying().kill();
        tokio::time::sleep(GOES_ON_FOR).await;
        load.wind_down();
        if self.database_is_back_first() {
            database.start_again();
            self.dying().start();
        } else {
            self.dying().start();
            database.start_again();
        }
        self.dying().healthy().await;
    }

    /// What tells the process where to die, or to stand still while others die.
    fn told(&self) -> String {
        let Case { point, hit, dies, .. } = self.case;
        let freezes = if *dies == Dies::Service { "" } else { ":stop" };
        format!("{point}#{hit}{freezes}")
    }

    /// Starts the process anew, told where to halt. It may do so before it is healthy.
    async fn arm(&self) {
        let dying = self.dying();
        dying.kill();
        dying.start_with(&[("ASSENT_CRASH_POINT", &self.told())]);
        let what = format!("{} is healthy or halted", dying.name);
        until(&what, Duration::from_secs(20), async || {
            let halted = async {
                while !dying.ended() && !dying.is_frozen() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            // What stands still would keep whoever asks it waiting.
            tokio::select! {
                () = halted => true,
                healthy = dying.is_healthy() => healthy,
            }
        })
        .await;
    }

    fn load(&self) -> Load {
        // Cases share a system, and request ids are names for ever.
        let prefix = self.case.to_string().replace(['#', ' '], "-");
        let client = match self.case.is_of_sagas() {
            true => self.client.in_saga_mode(),
            false => self.client.clone(),
        };
        Load::start(&[client], self.case.clients(), &prefix)
    }

    /// Has the process die with orders under way that will be garbage soon. It is told where to halt only then, because it
    /// collects what it finds as soon as it starts.
    async fn load_with_garbage(&self) -> Load {
        let load = self.load();
        until("some orders are answered", Duration::from_secs(20), async || load.answered() >= 10).await;
        self.arm().await;
        load
    }

    /// Has the coordinator die with many orders half way, because one participant is frozen, and starts it again: it
    /// recovers them, while the participant wakes up and meets both the late prepares and the fences.
    async fn load_until_recovery(&self) -> Load {
        let dying = self.dying();
        let coordinator = self.system.server(Service::Coordinator);
        let others = Service::PARTICIPANTS.into_iter().filter(|other| *other != dying.service);
        let frozen = self.system.server(others.last().expect("another participant"));
        if dying.service != Service::Coordinator {
            self.arm().await;
        }
        let load = self.load();
        until("some orders are answered", Duration::from_secs(20), async || load.answered() >= 10).await;
        frozen.pause();
        let records = self.system.pool(Service::Coordinator);
        until("most orders are half way", Duration::from_secs(5), async || {
            // Not those of this moment: they may be decided already.
            let staging = sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM undecided_record WHERE create_time < now() - interval '200 milliseconds'",
            );
            staging.fetch_one(&records).await.unwrap() >= 8
        })
        .await;
        coordinator.kill();
        frozen.resume();
        if dying.service == Service::Coordinator {
            coordinator.start_with(&[("ASSENT_CRASH_POINT", &self.told())]);
        } else {
            coordinator.start();
        }
        load
    }
}
