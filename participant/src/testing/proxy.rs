//! A stretch of network between two processes: a way there and a way back, each of which can lose its bytes, delay them or
//! keep them; connections can be reset, also in the middle of a COMMIT.
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::random_range;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// COMMIT as a writer sends it, alone and with the next BEGIN: a simple query, the last thing before it waits for an answer.
const COMMITS: [&[u8]; 2] = [b"Q\0\0\0\x0bCOMMIT\0", b"Q\0\0\0\x12COMMIT; BEGIN\0"];
/// How a server says that it is ready for more; whether it is in a local transaction follows.
const READY: &[u8] = b"Z\0\0\0\x05";

/// A way through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: requests.
    There = 0,
    /// From the server to the client: answers.
    Back = 1,
}

impl Way {
    /// Both.
    pub const BOTH: [Way; 2] = [Way::There, Way::Back];
}

/// What a way does with bytes. Whoever sends them never notices: to it they are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Weather {
    /// They arrive.
    #[default]
    Fair,
    /// They arrive late, by some milliseconds out of these, in their order.
    Late(RangeInclusive<u64>),
    /// They are kept until the way is open again.
    Held,
}

#[derive(Debug, Clone, Default)]
struct Network {
    ways: [Weather; 2],
    /// Connections up to this one are silent for good.
    silent: usize,
    /// Connections up to this one are reset.
    reset: usize,
    /// Of so many COMMITs one is met by a reset, by chance before or after it is passed on; none if zero.
    one_commit_in: u32,
}

/// Connections that were reset in COMMIT.
#[derive(Debug, Default)]
struct Broken {
    before: AtomicUsize,
    after: AtomicUsize,
}

/// Passes connections on to a server. Runs as long as the test's runtime.
pub struct Proxy {
    port: u16,
    network: Arc<watch::Sender<Network>>,
    made: watch::Receiver<usize>,
    broken: Arc<Broken>,
}

impl Proxy {
    /// Listens on a free port, and connects to `server`'s.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(watch::Sender::new(Network::default()));
        let (counted, made) = watch::channel(0);
        let broken = Arc::<Broken>::default();
        let proxy = Proxy { port, network: network.clone(), made, broken: broken.clone() };
        tokio::spawn(async move {
            for number in 1.. {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                counted.send_replace(number);
                let session = Session::default();
                let connection = Connection { number, network: network.subscribe(), broken: broken.clone(), session };
                tokio::spawn(connection.run(client, server));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on what is sent this way does not arrive; it is kept until [`Proxy::open`], or lost with
    /// [`Proxy::reset`].
    pub fn hold(&self, way: Way) {
        self.network.send_modify(|network| network.ways[way as usize] = Weather::Held);
    }

    /// From now on what is sent this way arrives so many milliseconds later.
    pub fn delay(&self, way: Way, by_ms: RangeInclusive<u64>) {
        self.network.send_modify(|network| network.ways[way as usize] = Weather::Late(by_ms));
    }

    /// From now on everything arrives; first what was kept.
    pub fn open(&self) {
        self.network.send_modify(|network| network.ways = Default::default());
    }

    /// Resets the connections that there are. What was kept on them is lost.
    pub fn reset(&self) {
        let made = *self.made.borrow();
        self.network.send_modify(|network| network.reset = made);
    }

    /// Silences the connections that there are, for good; new ones are passed on.
    pub fn silence(&self) {
        let made = *self.made.borrow();
        self.network.send_modify(|network| network.silent = made);
    }

    /// From now on resets the connection at one COMMIT in so many, an insert that is a local transaction itself being one as well,
    /// by chance before the server gets it or after; at none if that is zero.
    pub fn break_one_commit_in(&self, count: u32) {
        self.network.send_modify(|network| network.one_commit_in = count);
    }

    /// How many connections were reset before their COMMIT was passed on, and how many after.
    pub fn broken_commits(&self) -> (usize, usize) {
        (self.broken.before.load(Ordering::Relaxed), self.broken.after.load(Ordering::Relaxed))
    }
}

/// Why a connection ended otherwise than in order.
struct Reset;

struct Connection {
    number: usize,
    network: watch::Receiver<Network>,
    broken: Arc<Broken>,
    session: Session,
}

/// What is known of a session with Postgres.
#[derive(Default)]
struct Session {
    is_in_transaction: AtomicBool,
    /// The names of prepared statements that insert.
    inserts: Mutex<HashSet<Vec<u8>>>,
}

impl Session {
    /// Takes what the server sends.
    fn answered(&self, bytes: &[u8]) {
        if let Some((state, READY)) = bytes.split_last().map(|(state, before)| (state, last(before, READY.len()))) {
            self.is_in_transaction.store(*state != b'I', Ordering::Relaxed);
        }
    }

    /// Takes what the client sends; whether it commits something: by COMMIT, or by an insert that is a local transaction itself.
    fn commits(&self, bytes: &[u8]) -> bool {
        let mut inserts = self.inserts.lock().unwrap();
        let mut words = bytes.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        match bytes.first() {
            // Parse: a name, and the text.
            Some(b'P') => {
                let (name, text) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                if text.windows(12).any(|part| part == b"INSERT INTO ") {
                    inserts.insert(name.to_vec());
                }
                false
            }
            // Bind: of a portal, mostly without a name, and a statement.
            Some(b'B') => {
                let is_insert = words.nth(1).is_some_and(|name| inserts.contains(name));
                is_insert && !self.is_in_transaction.load(Ordering::Relaxed)
            }
            _ => COMMITS.iter().any(|commit| bytes.ends_with(commit)),
        }
    }
}

fn last(bytes: &[u8], count: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(count)..]
}

impl Connection {
    async fn run(self, mut client: TcpStream, mut server: TcpStream) {
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        let mut network = self.network.clone();
        let ended = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            let there = self.pass(Way::There, from_client, to_server);
            let back = self.pass(Way::Back, from_server, to_client);
            tokio::select! {
                // First, so that what is lost with a reset does not arrive when the way is opened after it.
                biased;
                Ok(_) = network.wait_for(|network| network.reset >= self.number) => Err(Reset),
                passed = async { tokio::try_join!(there, back) } => passed.map(|_| ()),
            }
        };
        if ended.is_err() {
            // The client loses the connection at once; the server finishes what it has got.
            let _ = client.set_zero_linger();
        }
    }

    /// Passes bytes on until their end, which is passed on as well.
    async fn pass(&self, way: Way, mut from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Reset> {
        let (on_the_way, arriving) = mpsc::unbounded_channel();
        let depart = async {
            let mut buffer = vec![0; 64 * 1024];
            let mut due = Instant::now();
            loop {
                let read = from.read(&mut buffer).await.map_err(|_| Reset)?;
                let late_ms = match &self.network.borrow().ways[way as usize] {
                    Weather::Late(by_ms) => random_range(by_ms.clone()),
                    Weather::Fair | Weather::Held => 0,
                };
                due = due.max(Instant::now() + Duration::from_millis(late_ms));
                // Nobody waits for it only when this connection ends.
                let _ = on_the_way.send((due, buffer[..read].to_vec()));
                if read == 0 {
                    return Ok(());
                }
            }
        };
        tokio::try_join!(depart, self.arrive(way, arriving, to)).map(|_| ())
    }

    async fn arrive(
        &self,
        way: Way,
        mut arriving: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), Reset> {
        let mut network = self.network.clone();
        while let Some((due, bytes)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            let open = |network: &Network| network.ways[way as usize] != Weather::Held && network.silent < self.number;
            let one_commit_in = network.wait_for(open).await.map_err(|_| Reset)?.one_commit_in;
            if bytes.is_empty() {
                return to.shutdown().await.map_err(|_| Reset);
            }
            let commits = match way {
                Way::There => self.session.commits(&bytes),
                Way::Back => {
                    self.session.answered(&bytes);
                    false
                }
            };
            let breaks = commits && one_commit_in > 0 && random_range(0..one_commit_in) == 0;
            if breaks && random_range(0..2) == 0 {
                self.broken.before.fetch_add(1, Ordering::Relaxed);
                return Err(Reset);
            }
            to.write_all(&bytes).await.map_err(|_| Reset)?;
            if breaks {
                self.broken.after.fetch_add(1, Ordering::Relaxed);
                return Err(Reset);
            }
        }
        Ok(())
    }
}
