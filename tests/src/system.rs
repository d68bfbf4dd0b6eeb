//! A whole system: four Postgres clusters, the participants, and one coordinator or more.
use participant::testing::{Disk, Port, Postgres, folder};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::client::Client;
use crate::network::{Network, POSTGRES};
use crate::server::{Server, Service};

/// Lines of each log that a failed test shows.
const SHOWN_LINES: usize = 40;

/// A running system; all of it is gone when dropped.
pub struct System {
    // Before the databases and the folder: fields are dropped in their order.
    servers: Vec<Server>,
    databases: Vec<(Service, Postgres)>,
    /// What lies between its processes, where that is proxied.
    pub network: Network,
    _folder: TempDir,
    /// How far the watermarks stay behind the clock, where that is not the services' own setting.
    watermark_lag_ms: Option<u64>,
}

/// How a system is to be.
#[derive(Debug, Clone)]
pub struct SetUp {
    coordinators: usize,
    proxied: bool,
    disk_megabytes: Option<u32>,
    settings: Vec<(Service, String, String)>,
    more_participants: Vec<String>,
    watermark_lag_ms: Option<u64>,
}

impl SetUp {
    /// So many coordinators on one database.
    pub fn coordinators(mut self, count: usize) -> Self {
        self.coordinators = count;
        self
    }

    /// A participant that is not the system's own, which the coordinators know.
    pub fn participant_too(mut self, name: &str, address: &str) -> Self {
        self.more_participants.push(format!("{name}={address}"));
        self
    }

    /// An environment variable for a service.
    pub fn set(mut self, service: Service, variable: &str, value: impl ToString) -> Self {
        self.settings.push((service, variable.to_owned(), value.to_string()));
        self
    }

    /// Everything older than this may be collected, which is looked for all the time.
    pub fn collected_after_ms(self, watermark_lag_ms: u64) -> Self {
        let collecting = |set_up: SetUp, service| {
            let set_up = set_up.set(service, "ASSENT_COLLECT_INTERVAL_MS", 20);
            set_up.set(service, "ASSENT_WATERMARK_LAG_MS", watermark_lag_ms)
        };
        let set_up = Service::ALL.into_iter().fold(self, collecting);
        SetUp { watermark_lag_ms: Some(watermark_lag_ms), ..set_up }
    }

    /// Every link between its processes, and to their databases, leads through a proxy: see [`Network`].
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Each database has a disk of its own, of so many megabytes: see [`Disk::mount`].
    pub fn on_disks_of(mut self, megabytes: u32) -> Self {
        self.disk_megabytes = Some(megabytes);
        self
    }

    /// Starts it; returns when everything is healthy.
    pub async fn start(self) -> System {
        let databases = start_databases(self.disk_megabytes);
        let folder = folder("system-");
        let participants = Service::PARTICIPANTS.map(|service| (service, service.name().to_owned()));
        let coordinators =
            (1..=self.coordinators).map(|number| (Service::Coordinator, format!("coordinator-{number}")));
        let named = participants.into_iter().chain(coordinators);
        let named: Vec<_> = named.map(|(service, name)| (service, name, Port::reserve())).collect();
        let mut network = Network::default();
        let mut settings = Vec::new();
        for (service, name, _) in &named {
            settings.push(self.settings_of(*service, name, &named, &databases, &mut network).await);
        }
        let servers = named.into_iter().zip(settings).map(|((service, name, port), settings)| {
            Server::new(service, &name, port, settings, folder.path().to_owned())
        });
        let servers = servers.collect();
        let system = System { servers, databases, network, _folder: folder, watermark_lag_ms: self.watermark_lag_ms };
        system.servers.iter().for_each(Server::start);
        for server in &system.servers {
            server.healthy().await;
        }
        system
    }

    /// The environment of a server: where it finds its database and the others, and what is set for it.
    async fn settings_of(
        &self,
        service: Service,
        name: &str,
        named: &[(Service, String, Port)],
        databases: &[(Service, Postgres)],
        network: &mut Network,
    ) -> Vec<(String, String)> {
        let database = databases.iter().find(|(of, _)| *of == service).map(|(_, database)| database);
        let mut port = database.expect("a database").port();
        if self.proxied {
            port = network.add(name, POSTGRES, port).await;
        }
        let (mut coordinators, mut participants) = (Vec::new(), Vec::new());
        for (of, other, at) in named {
            let is_coordinator = *of == Service::Coordinator;
            if is_coordinator == (service == Service::Coordinator) {
                continue;
            }
            let mut at = at.number();
            if self.proxied {
                at = network.add(name, other, at).await;
            }
            match is_coordinator {
                true => coordinators.push(format!("http://127.0.0.1:{at}")),
                false => participants.push(format!("{other}=http://127.0.0.1:{at}")),
            }
        }
        participants.extend(self.more_participants.iter().cloned());
        let pairs = [
            ("ASSENT_DATABASE_URL", Postgres::url_at(port)),
            ("ASSENT_PARTICIPANTS", participants.join(",")),
            ("ASSENT_COORDINATORS", coordinators.join(",")),
            ("ASSENT_NAME", name.to_owned()),
        ];
        let pairs = pairs.map(|(variable, value)| (variable.to_owned(), value));
        let own = self.settings.iter().filter(|(of, ..)| *of == service);
        pairs.into_iter().chain(own.map(|(_, variable, value)| (variable.clone(), value.clone()))).collect()
    }
}

fn start_databases(disk_megabytes: Option<u32>) -> Vec<(Service, Postgres)> {
    let disk = move || disk_megabytes.map(|megabytes| Disk::mount(megabytes).expect("a disk"));
    std::thread::scope(|scope| {
        let starting = Service::ALL.map(|service| (service, scope.spawn(move || Postgres::start_on(disk()))));
        starting.into_iter().map(|(service, started)| (service, started.join().expect("a cluster"))).collect()
    })
}

impl System {
    /// A system with one coordinator and the services' own settings.
    pub async fn start() -> Self {
        Self::set_up().start().await
    }

    /// A system that is to be different.
    pub fn set_up() -> SetUp {
        SetUp {
            coordinators: 1,
            proxied: false,
            disk_megabytes: None,
            settings: Vec::new(),
            more_participants: Vec::new(),
            watermark_lag_ms: None,
        }
    }

    /// A service's server; the first coordinator.
    pub fn server(&self, service: Service) -> &Server {
        self.servers.iter().find(|server| server.service == service).expect("a server")
    }

    /// One of the coordinators.
    pub fn coordinator(&self, place: usize) -> &Server {
        self.coordinators().nth(place).expect("so many coordinators")
    }

    /// All coordinators.
    pub fn coordinators(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.service == Service::Coordinator)
    }

    /// All servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// A service's Postgres.
    pub fn database(&self, service: Service) -> &Postgres {
        let mut databases = self.databases.iter();
        databases.find(|(of, _)| *of == service).map(|(_, database)| database).expect("a database")
    }

    /// Connections to a service's database; nothing is connected before it is needed.
    pub fn pool(&self, service: Service) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect_lazy(&self.database(service).url()).expect("a URL")
    }

    /// A client of the first coordinator.
    pub fn client(&self) -> Client {
        self.client_of(0)
    }

    /// A client of one of the coordinators.
    pub fn client_of(&self, coordinator: usize) -> Client {
        Client::new(self, self.coordinator(coordinator))
    }

    /// The environment in which `assent` finds the system, by a coordinator that runs.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variable = |service: Service| format!("ASSENT_{}", service.name().to_uppercase());
        let running = self.coordinators().find(|coordinator| !coordinator.ended()).expect("a coordinator that runs");
        let participants = Service::PARTICIPANTS.map(|service| (variable(service), self.server(service).address()));
        let lag = self.watermark_lag_ms.map(|lag_ms| ("ASSENT_WATERMARK_LAG_MS".to_owned(), lag_ms.to_string()));
        participants.into_iter().chain([(variable(Service::Coordinator), running.address())]).chain(lag).collect()
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let mut shown = String::new();
        for server in &self.servers {
            let log = server.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
            shown.push_str(&format!("--- {}\n{}\n", server.name, last.join("\n")));
        }
        shown
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
    }
}
