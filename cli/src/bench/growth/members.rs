//! A coordinator and so many inventories, each with a database of its own: participants of transactions that are no orders.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bench::cpu::{Group, Watch};
use futures::future::try_join_all;
use tokio::process::Child;

use crate::bench::cluster::Running;
use crate::bench::system::{remove, until_serving};
use crate::dev::services::{self, SERVICES};
use crate::failure::Failure;

/// The databases' ports begin so far behind the services'.
const FIRST_DATABASE: u16 = 10;

/// A coordinator and its participants, which run.
pub struct Members {
    /// Where the coordinator is.
    pub coordinator: String,
    /// The inventories: their names at the coordinator, and where they are.
    pub inventories: Vec<(String, String)>,
    databases: Vec<Running>,
    processes: Vec<(String, Child)>,
    folder: PathBuf,
}

impl Members {
    /// Starts a coordinator and `count` inventories, on fresh data. Must be called on the thread that lives as long as the
    /// process (see [`crate::dev::spawn::bound`]).
    pub async fn start(folder: &Path, port_base: u16, count: u16) -> Result<Self, Failure> {
        let [coordinator, inventory, ..] = SERVICES;
        let inventories: Vec<(String, String)> = (1..=count)
            .map(|number| (format!("inventory-{number}"), format!("http://127.0.0.1:{}", port_base + number)))
            .collect();
        let names = std::iter::once(coordinator.short).chain(inventories.iter().map(|(name, _)| name.as_str()));
        let databases = names
            .zip(port_base + FIRST_DATABASE..)
            .map(|(name, port)| async move { Running::start(&folder.join(name), name, port).await });
        let databases = try_join_all(databases).await?;

        let mut members = Members {
            coordinator: format!("http://127.0.0.1:{port_base}"),
            inventories,
            databases,
            processes: Vec::new(),
            folder: folder.to_owned(),
        };
        let list = members.inventories.iter().map(|(name, address)| format!("{name}={address}"));
        let list = list.collect::<Vec<_>>().join(",");
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let told = vec![set("ASSENT_NAME", "coordinator-1"), set("ASSENT_PARTICIPANTS", &list)];
        members.run(coordinator, coordinator.short, &members.coordinator.clone(), 0, told)?;
        for (place, (name, address)) in members.inventories.clone().into_iter().enumerate() {
            let coordinators = set("ASSENT_COORDINATORS", &members.coordinator);
            let told = vec![set("ASSENT_PARTICIPANT_NAME", &name), coordinators];
            members.run(inventory, &name, &address, place + 1, told)?;
        }
        let addresses = members.inventories.iter().map(|(_, address)| address).chain([&members.coordinator]);
        try_join_all(addresses.map(|address| until_serving(address))).await?;
        Ok(members)
    }

    /// Runs a service on the database at this place.
    fn run(
        &mut self,
        service: services::Service,
        name: &str,
        address: &str,
        place: usize,
        mut told: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot start {name}: {error}"));
        let database = &self.databases[place];
        told.push(("ASSENT_LISTEN".to_owned(), address.trim_start_matches("http://").to_owned()));
        told.push(("ASSENT_DATABASE_URL".to_owned(), database.url()));
        let log = std::fs::File::create(database.folder.join("service.log")).map_err(failed)?;
        let mut command = services::command(&services::find(service)?, &told);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.processes.push((name.to_owned(), command.spawn().map_err(failed)?));
        Ok(())
    }

    /// All its processes.
    pub fn watch(&self) -> Watch {
        let services = self.processes.iter().map(|(name, child)| (name.clone(), child.id().unwrap_or_default(), false));
        let databases = self.databases.iter().map(|database| (database.server.name.clone(), database.server.pid, true));
        let group = |(name, pid, with_children)| Group { name, pid, with_children };
        Watch(services.chain(databases).map(group).collect())
    }

    /// Stops all of it, and removes its data.
    pub async fn stop(mut self) -> Result<(), Failure> {
        for (_, process) in &mut self.processes {
            let _ = process.kill().await; // gone already is as good
        }
        try_join_all(self.databases.into_iter().map(Running::stop)).await?;
        remove(&self.folder)
    }
}
