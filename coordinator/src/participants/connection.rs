//! The connection to a participant: HTTP/2 that is made when it is first needed, and writes a call at once.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt;

/// A channel to this address; nothing is connected before it is needed.
pub fn lazily(address: &str) -> Result<Channel, Error> {
    let endpoint = settings(Endpoint::from_shared(address.to_owned())?);
    if address.starts_with("unix:") {
        return Ok(endpoint.connect_lazy());
    }
    let connector = connector().map_response(|io| TokioIo::new(Together::new(io.into_inner())));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn settings(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(3))
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

/// Writes only when everything else that can be done has been done once.
///
/// hyper has a call's headers written before it takes the call's body, each in a segment of its own, and so the participant wakes up
/// twice, with nothing to do the first time. One turn later the body is there.
struct Together<T> {
    io: T,
    /// The turn has been waited for.
    has_waited: bool,
}

impl<T> Together<T> {
    fn new(io: T) -> Self {
        Together { io, has_waited: false }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_waited, true) {
            return Poll::Ready(());
        }
        // To the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Together<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Together<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_waited = false;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proto::assent::transaction::v1::FenceRequest;
    use proto::assent::transaction::v1::participant_service_server::ParticipantServiceServer;

    use super::*;
    use crate::participants::Client;
    use crate::testing::FakeParticipant;

    /// Counts what is written.
    struct Counted<T>(T, Arc<AtomicUsize>);

    impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    const CALLS: usize = 100;

    async fn writes_of(channel: Channel, writes: &AtomicUsize) -> usize {
        let mut client = Client::new(channel);
        client.fence(FenceRequest::default()).await.unwrap();
        let before = writes.load(Ordering::SeqCst);
        for _ in 0..CALLS {
            client.fence(FenceRequest::default()).await.unwrap();
        }
        writes.load(Ordering::SeqCst) - before
    }

    #[tokio::test]
    async fn a_participant_is_reached_by_tcp_and_by_a_socket_of_this_machine() {
        let (participant, address) = FakeParticipant::serve("seats").await;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("seats");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let service = ParticipantServiceServer::new(participant);
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        for address in [address.uri, format!("unix:{}", socket.display())] {
            let mut client = Client::new(lazily(&address).unwrap());
            client.fence(FenceRequest::default()).await.unwrap();
        }
        assert!(lazily("no address").is_err());
    }

    #[tokio::test]
    async fn headers_and_body_of_a_call_are_written_at_once() {
        let (_participant, address) = FakeParticipant::serve("seats").await;
        let endpoint = settings(Endpoint::from_shared(address.uri).unwrap());
        let counter = || Arc::new(AtomicUsize::new(0));

        let (plain, together) = (counter(), counter());
        let count = plain.clone();
        let connector_plain = connector().map_response(move |io| TokioIo::new(Counted(io.into_inner(), count.clone())));
        let writes = writes_of(endpoint.connect_with_connector_lazy(connector_plain), &plain).await;
        assert!(writes >= 2 * CALLS, "what this is for: {writes}");

        let count = together.clone();
        let connector_together =
            connector().map_response(move |io| TokioIo::new(Together::new(Counted(io.into_inner(), count.clone()))));
        let writes = writes_of(endpoint.connect_with_connector_lazy(connector_together), &together).await;
        // Settings and pings are written as well.
        assert!((CALLS..CALLS + CALLS / 4).contains(&writes), "{writes}");
    }
}
