//! What the machine on which a system runs can tell of it: what its processes use, and what its databases write.
use std::path::Path;

use bench::cpu::{Group, Watch};
use bench::store::Server;
use bench::store::statistics::{Look, Written};

use crate::dev::data_dir;
use crate::dev::postgres::{Postgres, ROLE};
use crate::dev::state::{Kind, State};
use crate::failure::Failure;

/// This process among those that are watched.
pub const LOAD_GENERATOR: &str = "load generator";

/// A system on this machine.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its processes.
    pub groups: Vec<Group>,
    /// Its databases.
    pub servers: Vec<Server>,
}

impl Local {
    /// The system that answers at `coordinator`, as the `assent dev` on this data-dir knows it; or why it can't be told.
    pub async fn find(data_dir: &Path, coordinator: &str) -> Result<Self, String> {
        let groups = groups(data_dir, coordinator)?;
        let state = State::read(data_dir).map_err(|failure| failure.message)?.unwrap_or_default();
        let postgres = Postgres::find().await.map_err(|failure| failure.message)?;
        let password = data_dir::read_password(data_dir).map_err(|failure| failure.message)?;
        let mut servers = Vec::new();
        for process in state.processes.into_iter().filter(|process| process.kind == Kind::Database) {
            let port = process.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            servers.push(Server {
                bin: postgres.bin().to_owned(),
                port: port.ok_or_else(|| format!("{} has no port", process.name))?,
                role: ROLE.to_owned(),
                password: password.clone(),
                database: process.name.trim_end_matches("-db").to_owned(),
                pid: process.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
                name: process.name,
            });
        }
        Ok(Local { groups, servers })
    }

    /// What its databases have written until now.
    pub async fn looks(&self) -> Result<Vec<Look>, Failure> {
        let looks = self.servers.iter().map(Server::look);
        futures::future::try_join_all(looks).await.map_err(Failure::new)
    }

    /// What each of them wrote since then, for each of so many orders.
    pub async fn written_since(&self, before: &[Look], orders: u64) -> Result<Vec<Written>, Failure> {
        let now = self.looks().await?;
        let each = self.servers.iter().zip(now.iter().zip(before));
        Ok(each.filter_map(|(server, (now, before))| now.since(before, &server.name, orders)).collect())
    }
}

/// The processes to watch: those of the system, if they can be told, and this one.
pub fn watch(local: Option<&Local>) -> Watch {
    Watch(local.map(|local| local.groups.clone()).unwrap_or_default()).and_own(LOAD_GENERATOR)
}

fn groups(data_dir: &Path, coordinator: &str) -> Result<Vec<Group>, String> {
    let advice = "name the --data-dir of its `assent dev`, if it runs on this machine";
    let state = State::read(data_dir).map_err(|failure| failure.message)?;
    let state = state.ok_or_else(|| format!("{} is no data-dir of a running system: {advice}", data_dir.display()))?;
    if !state.processes.iter().any(|process| process.address == coordinator.trim_end_matches('/')) {
        return Err(format!("the system on {} is not the one at {coordinator}: {advice}", data_dir.display()));
    }
    let mut groups = Vec::new();
    for process in state.processes {
        let pid = process.pid.filter(|_| process.is_alive()).and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| format!("{} of {} does not run", process.name, data_dir.display()))?;
        groups.push(Group { name: process.name, pid, with_children: process.kind == Kind::Database });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_only_of_the_system_that_is_measured() {
        let folder = std::env::temp_dir().join(format!("assent-bench-{}", std::process::id()));
        assert!(groups(&folder, "http://127.0.0.1:7400").unwrap_err().contains("no data-dir"));
        std::fs::create_dir_all(&folder).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = crate::dev::state::Process {
            name: "coordinator".to_owned(),
            kind: Kind::Service,
            pid: Some(own),
            start_ticks: crate::dev::state::start_ticks(own),
            address: "http://127.0.0.1:7400".to_owned(),
            state: crate::dev::state::Condition::Ready,
            restarts: 0,
        };
        State { processes: vec![process.clone()] }.write(&folder).unwrap();
        let found = groups(&folder, "http://127.0.0.1:7400/").unwrap();
        assert_eq!((found.len(), found[0].pid, found[0].with_children), (1, std::process::id(), false));
        assert!(groups(&folder, "http://127.0.0.1:7500").unwrap_err().contains("is not the one"));
        State { processes: vec![crate::dev::state::Process { pid: None, ..process }] }.write(&folder).unwrap();
        assert!(groups(&folder, "http://127.0.0.1:7400").unwrap_err().contains("does not run"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
