//! The network between the processes of a system, one link for each two that talk, for tests to hurt.
use participant::testing::Proxy;

/// The other end of a link to a server's own database.
pub(crate) const POSTGRES: &str = "postgres";

/// All links of a system.
#[derive(Default)]
pub struct Network {
    links: Vec<Link>,
}

struct Link {
    /// The name of the server that connects.
    from: String,
    /// The name of the server that it connects to, or "postgres", its own.
    to: String,
    proxy: Proxy,
}

impl Network {
    /// Puts a link in the way of a server to another one's port; returns the link's own port.
    pub(crate) async fn add(&mut self, from: &str, to: &str, port: u16) -> u16 {
        let proxy = Proxy::start(port).await;
        let own = proxy.port();
        self.links.push(Link { from: from.to_owned(), to: to.to_owned(), proxy });
        own
    }

    /// The link from one server to another.
    pub fn link(&self, from: &str, to: &str) -> &Proxy {
        let link = self.links.iter().find(|link| link.from == from && link.to == to);
        &link.unwrap_or_else(|| panic!("there is no link from {from} to {to}")).proxy
    }

    /// The link from a server to its database.
    pub fn to_database(&self, from: &str) -> &Proxy {
        self.link(from, POSTGRES)
    }

    /// All links between two servers, whoever connects.
    pub fn between(&self, one: &str, other: &str) -> impl Iterator<Item = &Proxy> {
        let joins = move |link: &&Link| [(one, other), (other, one)].contains(&(&link.from, &link.to));
        self.links.iter().filter(joins).map(|link| &link.proxy)
    }

    /// All links on which a server connects.
    pub fn from(&self, server: &str) -> impl Iterator<Item = &Proxy> {
        self.links.iter().filter(move |link| link.from == server).map(|link| &link.proxy)
    }

    /// All links.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.links.iter().map(|link| &link.proxy)
    }
}
