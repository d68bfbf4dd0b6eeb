//! A stretch of network between two processes that can go silent: nothing arrives any more, and nobody is told.
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a server. Runs as long as the test's runtime.
pub struct Proxy {
    port: u16,
    /// Connections made up to this one are silent.
    silent: Arc<watch::Sender<usize>>,
    made: watch::Receiver<usize>,
}

impl Proxy {
    /// Listens on a free port, and connects to `server`'s.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silent, silence) = watch::channel(0);
        let (counted, made) = watch::channel(0);
        tokio::spawn(async move {
            for number in 1.. {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                counted.send_replace(number);
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, number, silence.clone()));
                tokio::spawn(pass(from_server, to_client, number, silence.clone()));
            }
        });
        Proxy { port, silent: Arc::new(silent), made }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Silences the connections that there are; new ones are passed on.
    pub fn silence(&self) {
        self.silent.send_replace(*self.made.borrow());
    }
}

/// Passes bytes on until the end, or until the connection is silenced: then it stays open, and nothing more arrives.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, mut silence: watch::Receiver<usize>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = silenced(&mut silence, number) => None,
            read = from.read(&mut buffer) => Some(read),
        };
        let Some(read) = read else { return std::future::pending().await };
        match read {
            Ok(count) if count > 0 && to.write_all(&buffer[..count]).await.is_ok() => (),
            _ => return,
        }
    }
}

async fn silenced(silence: &mut watch::Receiver<usize>, number: usize) {
    // A proxy that is gone silences nobody any more.
    if silence.wait_for(|silent| *silent >= number).await.is_err() {
        std::future::pending::<()>().await;
    }
}
