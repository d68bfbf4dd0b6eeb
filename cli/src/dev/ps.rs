//! `assent dev ps`: the processes of a data-dir and how they are now.
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tonic_health::pb::health_check_response::ServingStatus;

use super::state::{Condition, Kind, Process, State};
use crate::failure::Failure;
use crate::health;
use crate::output::{Output, table};

#[derive(Debug, Serialize)]
struct ProcessView {
    name: String,
    kind: Kind,
    pid: Option<i32>,
    address: String,
    state: &'static str,
    restarts: u32,
}

/// Lists the processes of the data-dir at `path`.
pub async fn run(path: &Path, output: Output) -> Result<(), Failure> {
    let state = State::read(path)?.ok_or_else(|| {
        Failure::new(format!("nothing was ever started on {}", path.display()))
            .hint("start it with `assent dev`, or name its --data-dir")
    })?;
    let looked = state.processes.into_iter().map(|process| look(path, process));
    let views: Vec<ProcessView> = futures::future::join_all(looked).await;
    output.print(&views, |views| {
        let rows = views.iter().map(|view| {
            vec![
                view.name.clone(),
                view.pid.map(|pid| pid.to_string()).unwrap_or_else(|| "-".to_owned()),
                view.address.clone(),
                view.state.to_owned(),
                view.restarts.to_string(),
            ]
        });
        table(&["name", "pid", "address", "state", "restarts"], &[1, 4], rows.collect())
    })
}

async fn look(path: &Path, process: Process) -> ProcessView {
    let alive = process.is_alive();
    let answers = alive
        && match process.kind {
            Kind::Database => database_is_ready(path, &process.name),
            Kind::Service if process.name == super::gateway::BINARY => {
                let address = process.address.trim_start_matches("http://");
                tokio::net::TcpStream::connect(address).await.is_ok()
            }
            Kind::Service => {
                let answer = health::check(&process.address, "", Duration::from_millis(1_000)).await;
                matches!(answer, Ok(ServingStatus::Serving))
            }
        };
    let state = match (alive, answers, process.state) {
        (true, true, _) => Condition::Ready,
        (true, false, _) => Condition::Starting,
        // Recorded as running, yet it does not: it has just died, or whoever kept the record has.
        (false, _, Condition::Starting | Condition::Ready) => Condition::Stopped,
        (false, _, recorded) => recorded,
    };
    ProcessView {
        name: process.name,
        kind: process.kind,
        pid: process.pid.filter(|_| alive),
        address: process.address,
        state: state.name(),
        restarts: process.restarts,
    }
}

fn database_is_ready(path: &Path, name: &str) -> bool {
    super::postgres::says_ready(&path.join("postgres").join(name))
}
