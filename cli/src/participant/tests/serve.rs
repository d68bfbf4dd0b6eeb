//! Serves the participant in memory, in a runtime of its own, which a restart ends as a kill would.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::assent::transaction::v1::participant_service_server::ParticipantServiceServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;

use super::faults::Fault;
use super::participant::Participant;

/// Between two looks for the file that asks for a restart.
const PAUSE: Duration = Duration::from_millis(5);

/// A participant that is served until it is dropped.
pub struct Served {
    port: u16,
    folder: TempDir,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves a participant with this fault.
    pub fn start(fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (books, wanted) = (folder.path().join("books"), folder.path().join("restart"));
        let participant = Participant::new(fault, books);
        // Bound all the time, so that nobody else takes the port: what connects during a restart waits.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        let thread = std::thread::spawn(move || {
            let mut runtime = serve(&participant, &listener);
            while !stop.load(Ordering::Relaxed) {
                if wanted.exists() {
                    runtime.shutdown_timeout(Duration::from_secs(5));
                    participant.crash();
                    runtime = serve(&participant, &listener);
                    std::fs::remove_file(&wanted).unwrap();
                }
                std::thread::sleep(PAUSE);
            }
            runtime.shutdown_background();
        });
        Served { port, folder, stopped, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The file with its figures.
    pub fn books(&self) -> PathBuf {
        self.folder.path().join("books")
    }

    /// Makes the file that asks for a restart, and waits until it is gone.
    pub fn restart_command(&self) -> String {
        let file: &Path = &self.folder.path().join("restart");
        format!("touch {file}; while [ -e {file} ]; do sleep 0.01; done", file = file.display())
    }
}

fn serve(participant: &Participant, listener: &TcpListener) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = listener.try_clone().unwrap();
    listener.set_nonblocking(true).unwrap();
    let service = ParticipantServiceServer::new(participant.clone());
    runtime.spawn(async move {
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
    });
    runtime
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking(), "the server panicked");
    }
}
