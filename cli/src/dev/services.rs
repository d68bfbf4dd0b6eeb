//! The services of a development system: which, where, and how each is told of the others.
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::postgres::Cluster;
use super::spawn;
use crate::failure::Failure;

/// One service and its database, by its place after the base port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The executable, and its name in every list.
    pub binary: &'static str,
    /// Its name without the "-svc".
    pub short: &'static str,
    offset: u16,
}

/// All of them, in the order of their ports.
pub const SERVICES: [Service; 4] = [
    Service { binary: "coordinator", short: "coordinator", offset: 0 },
    Service { binary: "inventory-svc", short: "inventory", offset: 1 },
    Service { binary: "order-svc", short: "order", offset: 2 },
    Service { binary: "payment-svc", short: "payment", offset: 3 },
];

const FIRST_DATABASE: u16 = 10;

impl Service {
    /// Its port.
    pub fn port(self, base: u16) -> u16 {
        base + self.offset
    }

    /// Where it is reached.
    pub fn address(self, base: u16) -> String {
        format!("http://127.0.0.1:{}", self.port(base))
    }

    /// Its cluster, in a folder of `clusters`.
    pub fn cluster(self, base: u16, clusters: &Path) -> Cluster {
        let name = format!("{}-db", self.short);
        Cluster {
            folder: clusters.join(&name),
            name,
            database: self.short.to_owned(),
            port: base + FIRST_DATABASE + self.offset,
        }
    }

    /// What it is told, as environment variables.
    pub fn environment(self, base: u16, database_url: &str) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (name.to_owned(), value);
        let [coordinator, participants @ ..] = SERVICES;
        let mut environment = vec![
            set("ASSENT_LISTEN", format!("127.0.0.1:{}", self.port(base))),
            set("ASSENT_DATABASE_URL", database_url.to_owned()),
        ];
        if self == coordinator {
            let list = participants.map(|one| format!("{}={}", one.short, one.address(base)));
            environment.push(set("ASSENT_NAME", "coordinator-1".to_owned()));
            environment.push(set("ASSENT_PARTICIPANTS", list.join(",")));
        } else {
            environment.push(set("ASSENT_COORDINATORS", coordinator.address(base)));
        }
        environment
    }
}

/// Where the executable of `service` is: beside our own, else on PATH.
pub fn find(service: Service) -> Result<PathBuf, Failure> {
    find_binary(service.binary)
}

/// Where the executable of this name is: beside our own, else on PATH.
pub fn find_binary(binary: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(binary))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::new(format!("the executable {binary} is neither beside `assent` nor on PATH"))
                .hint("build it too: cargo build --workspace")
        })
}

/// The command that runs a service.
pub fn command(executable: &Path, environment: &[(String, String)]) -> Command {
    // Killed at once should we die: crashes are what the services are made for.
    let mut command = spawn::bound(executable, &[], None, Signal::SIGKILL);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Checks that every port is free, so that the person hears of it now and from us.
pub fn check_ports(base: u16) -> Result<(), Failure> {
    for service in SERVICES {
        let database = base + FIRST_DATABASE + service.offset;
        let wanted = [(service.port(base), service.binary.to_owned()), (database, format!("{}-db", service.short))];
        for (port, name) in wanted {
            std::net::TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
                let message = match error.kind() {
                    std::io::ErrorKind::AddrInUse => format!("port {port} ({name}) is taken"),
                    _ => format!("port {port} ({name}) cannot be used: {error}"),
                };
                Failure::new(message).hint("stop what listens there, or choose another --port-base")
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_told_of_the_others() {
        let [coordinator, inventory, ..] = SERVICES;
        let told = coordinator.environment(9000, "postgres://x");
        let participants = &told.iter().find(|(name, _)| name == "ASSENT_PARTICIPANTS").unwrap().1;
        assert_eq!(
            participants,
            "inventory=http://127.0.0.1:9001,order=http://127.0.0.1:9002,payment=http://127.0.0.1:9003"
        );
        let told = inventory.environment(9000, "postgres://x");
        assert!(told.contains(&("ASSENT_COORDINATORS".to_owned(), "http://127.0.0.1:9000".to_owned())));
        assert_eq!(inventory.cluster(9000, Path::new("/d")).port, 9011);
    }

    #[test]
    fn a_taken_port_is_named() {
        // Whatever the base, one of its ports is the one that is taken here.
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let _held = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let failure = check_ports(taken).unwrap_err();
        assert!(failure.message.contains(&format!("port {taken} (coordinator) is taken")), "{}", failure.line());
    }
}
