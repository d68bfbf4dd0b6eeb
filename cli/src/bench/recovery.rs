//! `assent bench recovery`: how long thousands of transactions stay in doubt when everything was killed.
//!
//! They are made by freezing the payment service while orders are placed: the others have voted yes and the records are
//! STAGING. Then every process, the databases too, is killed at one time, and started again by `assent dev`.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::shop::{Plan, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::assent::transaction::v1::{BranchState, ListBranchesRequest, ListTransactionsRequest, RecordState};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use super::load::Stocked;
use super::orders::made_up_name;
use super::spinner;
use super::system::System;
use crate::client::{Service, Services};
use crate::dev::state::{Process, State};
use crate::failure::{Call, Failure};
use crate::health;
use crate::mode::Mode;
use crate::output::{Output, table, thousands};

/// What the clients are told to allow, so that nothing is given up before it is killed.
const TIMEOUT_MS: u32 = 60_000;
/// So long nothing more may come in doubt before it counts as all there is.
const NO_MORE_AFTER: Duration = Duration::from_secs(2);
/// How long a start, and the recovery, may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PAGE_SIZE: i32 = 5_000;
const CONNECTIONS: usize = 4;

/// Kill everything while thousands of transactions are in doubt, and see how soon all of them are resolved
#[derive(Debug, clap::Args)]
pub struct Recovery {
    /// How many orders are under way when everything is killed
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    in_doubt: u32,
    /// How often
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    repetitions: u16,
    /// Where the databases are made, anew
    #[arg(long, value_name = "DIR", default_value = ".assent-bench")]
    data_dir: PathBuf,
    /// First port, as for `assent dev`
    #[arg(long, value_name = "PORT", default_value_t = 7470, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

/// What was seen.
#[derive(Debug, Serialize)]
struct Recovered {
    killed: Vec<Killed>,
}

/// One kill of everything.
#[derive(Debug, Serialize)]
struct Killed {
    /// Records STAGING when everything was killed.
    in_doubt: usize,
    /// From the kill until every service was up.
    up_ms: u64,
    /// From then until nothing was in doubt anywhere.
    resolved_ms: u64,
}

impl Recovery {
    /// Runs the verb. Must be called on the thread that lives as long as the process.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            eprintln!("these programs were not built for release: the figures say nothing");
        }
        let doing = spinner();
        let environment = [("ASSENT_MAX_WAIT_MS", "0"), ("ASSENT_MAX_OPEN_ORDERS", "1000000")];
        let folder = self.data_dir.join("system");
        let system = System::start_with(&folder, self.port_base, services, &environment).await?;
        let seen = async {
            let mut killed = Vec::new();
            for number in 1..=self.repetitions {
                doing.set_message(format!("{number} of {}: placing orders that can't be decided", self.repetitions));
                killed.push(self.kill_all(&system).await?);
            }
            match system.is_healthy().await? {
                true => Ok(Recovered { killed }),
                false => Err(Failure::new("an invariant does not hold after the recovery")),
            }
        };
        let seen = seen.await;
        system.stop().await?;
        doing.finish_and_clear();
        output.print(&seen?, page)
    }

    async fn kill_all(&self, system: &System) -> Result<Killed, Failure> {
        let services = &system.services;
        let plan = Plan {
            run: made_up_name(),
            workload: Workload::Uniform,
            skus: 1_000,
            accounts: 256,
            lines: 1,
            refused_percent: 0,
            baskets: Default::default(),
            mode: Mode::Atomic.into(),
        };
        let patient =
            Services { timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX), ..services.clone() };
        let stocked = Stocked::new(&patient, &[], &plan, CONNECTIONS, |_| {}).await?;
        let processes = processes(system)?;
        let payment = processes.iter().find(|process| process.name == "payment-svc");
        send(payment.into_iter(), Signal::SIGSTOP);

        let mut rng = StdRng::seed_from_u64(0);
        let mut placed = JoinSet::new();
        for orders in stocked.connections.iter().cycle().take(self.in_doubt as usize) {
            let mut order = stocked.shop.order(&mut rng, Uuid::now_v7().to_string());
            order.timeout_ms = TIMEOUT_MS as i32;
            let orders = orders.clone();
            // None is answered: that is what this is about.
            placed.spawn(async move { drop(orders.place(&order).await) });
        }
        let in_doubt = self.all_in_doubt(services).await;
        send(processes.iter(), Signal::SIGKILL);
        let killed = Instant::now();
        let in_doubt = in_doubt?;
        placed.shutdown().await;

        up_again(system, &processes, killed).await?;
        let up = Instant::now();
        while !is_settled(services).await? {
            if up.elapsed() > PATIENCE {
                return Err(Failure::new(format!("still in doubt {} s after the start", PATIENCE.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Killed { in_doubt, up_ms: ms(up - killed), resolved_ms: ms(up.elapsed()) })
    }

    /// Waits until as many are in doubt as are wanted, or as ever will be.
    async fn all_in_doubt(&self, services: &Services) -> Result<usize, Failure> {
        let (mut most, mut grew) = (0, Instant::now());
        while most < self.in_doubt as usize && grew.elapsed() < NO_MORE_AFTER {
            let count = staging(services).await?;
            if count > most {
                (most, grew) = (count, Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(most)
    }
}

fn processes(system: &System) -> Result<Vec<Process>, Failure> {
    Ok(State::read(&system.data_dir)?.unwrap_or_default().processes)
}

fn send<'a>(processes: impl Iterator<Item = &'a Process>, signal: Signal) {
    for pid in processes.filter(|process| process.is_alive()).filter_map(|process| process.pid) {
        let _ = kill(Pid::from_raw(pid), signal); // gone already is as good
    }
}

/// Waits until other processes run in the place of these, and all services say that they are healthy.
async fn up_again(system: &System, before: &[Process], since: Instant) -> Result<(), Failure> {
    let services = &system.services;
    loop {
        let now = processes(system)?;
        let is_new = |process: &Process| process.is_alive() && before.iter().all(|old| old.pid != process.pid);
        let addresses = [&services.coordinator, &services.inventory, &services.order, &services.payment];
        let mut are_up = now.len() == before.len() && now.iter().all(is_new);
        for address in addresses {
            let serves = async || health::check(address, "", Duration::from_secs(1)).await;
            are_up = are_up && matches!(serves().await, Ok(ServingStatus::Serving));
        }
        if are_up {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure::new("the system does not come up again"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many records are STAGING.
async fn staging(services: &Services) -> Result<usize, Failure> {
    let mut client = services.transactions().await?;
    let (mut count, mut page_token) = (0, String::new());
    loop {
        let request = ListTransactionsRequest {
            state: RecordState::Staging.into(),
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = client.list_transactions(services.request(request)).await.map_err(failed)?.into_inner();
        count += page.transactions.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(count);
        }
    }
}

/// Whether no record is STAGING and no participant has voted yes without knowing the decision.
async fn is_settled(services: &Services) -> Result<bool, Failure> {
    let request = ListTransactionsRequest {
        state: RecordState::Staging.into(),
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    let listed = services.transactions().await?.list_transactions(services.request(request)).await.map_err(failed)?;
    if !listed.into_inner().transactions.is_empty() {
        return Ok(false);
    }
    for service in Service::PARTICIPANTS {
        let request =
            ListBranchesRequest { state: BranchState::Prepared.into(), page_size: 1, page_token: String::new() };
        let mut client = services.participant(service).await?;
        let listed = client.list_branches(services.request(request)).await.map_err(failed)?;
        if !listed.into_inner().branches.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn failed(status: Status) -> Failure {
    Failure::of_status(&status, Call::Read)
}

fn page(Recovered { killed }: &Recovered) -> String {
    let row = |(number, killed): (usize, &Killed)| {
        let Killed { in_doubt, up_ms, resolved_ms } = killed;
        vec![(number + 1).to_string(), thousands(*in_doubt as u64), thousands(*up_ms), thousands(*resolved_ms)]
    };
    let headers = ["kill", "in doubt", "up again ms", "resolved ms"];
    table(&headers, &[0, 1, 2, 3], killed.iter().enumerate().map(row).collect())
}
