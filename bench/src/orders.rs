//! The way to the OrderService: PlaceOrder straight over HTTP/2, so that load costs the machine little.
//!
//! What places orders shares the processors with what is measured, here as in the baselines, whose pgbench is a small program.
//! tonic's client is made for any call: it queues a request twice and boxes it several times, which is half of what a call costs
//! at its client. A shop has machines of its own for that.
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, client};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use proto::assent::order::v1::{PlaceOrderRequest, PlaceOrderResponse};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::Caller;
use crate::outcome::Outcome;

const PATH: PathAndQuery = PathAndQuery::from_static("/assent.order.v1.OrderService/PlaceOrder");
/// Before each message: not compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A host that drops what it is sent answers nothing, for minutes.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Answers are small, and many at once.
const WINDOW_BYTES: u32 = 1 << 20;
/// Of many calls at once, as far as the server takes them.
const MAX_STREAMS: usize = 100_000;

/// It is no address of HTTP without TLS, or nobody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody can be reached at this address")]
pub struct NoConnection;

/// One HTTP/2 connection, made anew when it breaks; clones share it.
#[derive(Debug, Clone)]
pub struct Orders(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
    /// Connections are numbered, so that one that broke is not taken for the one made after it.
    open: Mutex<(u64, Option<SendRequest<Bytes>>)>,
}

impl Orders {
    /// Connects to this address, such as `http://127.0.0.1:7400`.
    pub async fn connect(address: &str, caller: &Caller) -> Result<Self, NoConnection> {
        let parts = address.parse::<Uri>().map_err(|_| NoConnection)?.into_parts();
        let authority = parts.authority.ok_or(NoConnection)?;
        if parts.scheme.is_some_and(|scheme| scheme != http::uri::Scheme::HTTP) {
            return Err(NoConnection);
        }
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(PATH).build();
        let mut headers = caller.request(()).metadata().clone().into_headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let connection =
            Connection { uri: uri.map_err(|_| NoConnection)?, headers, caller: caller.clone(), open: Mutex::default() };
        connection.sender().await.map_err(|_| NoConnection)?;
        Ok(Orders(Arc::new(connection)))
    }

    /// Places an order; answers what became of it.
    pub async fn place(&self, order: &PlaceOrderRequest) -> Outcome {
        let answered = tokio::time::timeout(self.0.caller.timeout, self.0.call(order));
        match answered.await {
            Ok(Ok(_)) => Outcome::Confirmed,
            Ok(Err(status)) => Outcome::of_status(&status),
            Err(_) => Outcome::of_status(&Status::deadline_exceeded("no answer in time")),
        }
    }
}

impl Connection {
    /// The connection, a new one if it is broken.
    async fn sender(&self) -> Result<(u64, SendRequest<Bytes>), Status> {
        let mut open = self.open.lock().await;
        let (number, Some(sender)) = &*open else { return self.renewed(&mut open).await };
        Ok((*number, sender.clone()))
    }

    async fn renewed(&self, open: &mut (u64, Option<SendRequest<Bytes>>)) -> Result<(u64, SendRequest<Bytes>), Status> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let connecting = TcpStream::connect((host, self.uri.port_u16().unwrap_or(80)));
        let socket =
            tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(unavailable)?.map_err(unavailable)?;
        socket.set_nodelay(true).map_err(unavailable)?;
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_max_send_streams(MAX_STREAMS)
            .max_concurrent_reset_streams(MAX_STREAMS);
        let (sender, connection) = builder.handshake(socket).await.map_err(unavailable)?;
        // Whoever has a call on it is told of its end.
        tokio::spawn(async move { drop(connection.await) });
        *open = (open.0 + 1, Some(sender.clone()));
        Ok((open.0, sender))
    }

    async fn call(&self, order: &PlaceOrderRequest) -> Result<PlaceOrderResponse, Status> {
        let (number, sender) = self.sender().await?;
        match self.call_over(sender, order).await {
            Ok(answer) => answer,
            Err(error) => {
                let mut open = self.open.lock().await;
                // Others may have met the same end, and one of them has a new one already.
                if !error.is_reset() && open.0 == number {
                    open.1 = None;
                }
                Err(unavailable(error))
            }
        }
    }

    /// What was answered, or how the connection failed.
    async fn call_over(
        &self,
        sender: SendRequest<Bytes>,
        order: &PlaceOrderRequest,
    ) -> Result<Result<PlaceOrderResponse, Status>, h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let (answer, mut stream) = sender.ready().await?.send_request(request, false)?;
        stream.send_data(framed(order), true)?;
        let (head, mut body) = answer.await?.into_parts();
        // With nothing else to say, the status comes with the headers.
        if let Some(status) = failed(head.headers) {
            return Ok(Err(status));
        }
        let message = received(&mut body).await?;
        let Some(trailers) = body.trailers().await? else {
            return Ok(Err(Status::internal("an answer without a status")));
        };
        Ok(match failed(trailers) {
            Some(status) => Err(status),
            None => unframed(&message).ok_or_else(|| Status::internal("no message that can be read")),
        })
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

async fn received(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut message = Bytes::new();
    while let Some(part) = body.data().await.transpose()? {
        body.flow_control().release_capacity(part.len())?;
        message = if message.is_empty() { part } else { [message, part].concat().into() };
    }
    Ok(message)
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The memory is there, so it does not fail.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

fn unframed(frame: &Bytes) -> Option<PlaceOrderResponse> {
    frame.get(PREFIX_BYTES..).and_then(|message| PlaceOrderResponse::decode(message).ok())
}

/// The status that ends an answer, if it is one of an error.
fn failed(headers: HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status").filter(|code| *code != "0").map(|code| Code::from_bytes(code.as_bytes()))?;
    // Status::from_header_map panics where details are no base64.
    let details = MetadataMap::from_headers(headers).get_bin("grpc-status-details-bin").map(|value| value.to_bytes());
    Some(Status::with_details(code, "", details.and_then(Result::ok).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
