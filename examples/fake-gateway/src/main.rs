//! A card gateway for tests and for trying out: authorises, captures, voids and refunds over HTTP, in the style of today's
//! gateways, and misbehaves as it is told. See its README.
mod api;
mod book;
mod misbehaviour;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use clap::Parser;

use crate::book::Book;
use crate::misbehaviour::Misbehaviour;
use crate::webhooks::Webhooks;

/// A card gateway that misbehaves as it is told.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The address to serve HTTP on
    #[arg(long, env = "FAKE_GATEWAY_LISTEN", default_value = "127.0.0.1:7481")]
    listen: SocketAddr,
    /// The file that keeps what it did
    #[arg(long, env = "FAKE_GATEWAY_STORE", default_value = "fake-gateway.jsonl")]
    store: PathBuf,
    /// Where webhooks go; nowhere if not given
    #[arg(long, env = "FAKE_GATEWAY_WEBHOOK_URL", requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// The secret that webhooks are signed with
    #[arg(long, env = "FAKE_GATEWAY_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// How it misbehaves from the beginning, as JSON
    #[arg(long, env = "FAKE_GATEWAY_MISBEHAVIOUR", value_parser = misbehaviour::parse, default_value = "{}")]
    misbehaviour: Misbehaviour,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let book = Book::open(&args.store).with_context(|| format!("can't read {}", args.store.display()))?;
    let webhooks = args.webhook_url.zip(args.webhook_secret).map(|(url, secret)| Webhooks::new(&url, &secret));
    let gateway = api::Gateway {
        book: Arc::new(Mutex::new(book)),
        misbehaviour: Arc::new(Mutex::new(args.misbehaviour)),
        webhooks: webhooks.map(Arc::new),
    };
    let listener =
        tokio::net::TcpListener::bind(args.listen).await.with_context(|| format!("can't listen on {}", args.listen))?;
    eprintln!("fake-gateway: serving http://{}", args.listen);
    Ok(axum::serve(listener, api::routes(gateway)).await?)
}
