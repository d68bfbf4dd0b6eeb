//! The fake card gateway as a process of its own, and what stands in it.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use participant::testing::{Port, Process, folder};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::programs::program;
use crate::server::Service;
use crate::system::SetUp;
use crate::until::until;

const SECRET: &str = "a secret of the tests";

/// A payment at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GatewayPayment {
    /// The transaction that made it.
    pub reference: String,
    /// What was authorised.
    pub authorised_minor: i64,
    /// What was captured.
    pub captured_minor: i64,
    /// In so many captures.
    pub captures: u32,
    /// What was given back without having been captured.
    pub voided_minor: i64,
    /// What was refunded.
    pub refunded_minor: i64,
}

/// The fake gateway; it can be killed and started again.
pub struct FakeGateway {
    port: Port,
    webhooks: Port,
    folder: TempDir,
    process: Mutex<Option<Process>>,
}

impl FakeGateway {
    /// Starts it.
    pub async fn start() -> Self {
        let (port, webhooks, folder) = (Port::reserve(), Port::reserve(), folder("gateway-"));
        let gateway = FakeGateway { port, webhooks, folder, process: Mutex::default() };
        gateway.start_again().await;
        gateway
    }

    /// A system whose payments go through it.
    pub fn pays_for(&self, set_up: SetUp) -> SetUp {
        let local = |port: &Port| format!("127.0.0.1:{}", port.number());
        [
            ("ASSENT_PROVIDER", "gateway".to_owned()),
            ("ASSENT_GATEWAY_URL", format!("http://{}", local(&self.port))),
            ("ASSENT_GATEWAY_CALL_MS", "400".to_owned()),
            ("ASSENT_GATEWAY_WEBHOOKS", local(&self.webhooks)),
            ("ASSENT_GATEWAY_WEBHOOK_SECRET", SECRET.to_owned()),
        ]
        .into_iter()
        .fold(set_up, |set_up, (variable, value)| set_up.set(Service::Payment, variable, value))
    }

    /// Starts it after it was killed, and waits until it serves.
    pub async fn start_again(&self) {
        let process = Process::start(program("fake-gateway"), None, |command| {
            command.args(["--listen", &format!("127.0.0.1:{}", self.port.number())]);
            command.arg("--store").arg(self.store());
            command.args(["--webhook-url", &format!("http://127.0.0.1:{}/webhooks", self.webhooks.number())]);
            command.args(["--webhook-secret", SECRET]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        *self.process.lock().unwrap() = Some(process);
        until("the gateway serves", Duration::from_secs(20), async || {
            TcpStream::connect(("127.0.0.1", self.port.number())).await.is_ok()
        })
        .await;
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.kill();
        }
    }

    /// Has it misbehave so, from now on.
    pub async fn misbehave(&self, how: &str) {
        self.admin("PUT", "/admin/misbehaviour", how).await;
    }

    /// What stands in it, by the transaction; a transaction with two payments is an error.
    pub async fn payments(&self) -> BTreeMap<String, GatewayPayment> {
        let all: Vec<GatewayPayment> = serde_json::from_str(&self.admin("GET", "/admin/payments", "").await).unwrap();
        let mut payments = BTreeMap::new();
        for payment in all {
            let twice = payments.insert(payment.reference.clone(), payment);
            assert_eq!(twice, None, "one transaction has authorised twice");
        }
        payments
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store.jsonl")
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number())).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}: {body}");
        body.to_owned()
    }
}
