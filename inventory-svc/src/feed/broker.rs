//! The stream of NATS JetStream.
//!
//! Every message names the sequence of the stream that it expects to be the last, so the stream takes a message only directly after
//! the one that was stored before it. One that is lost on the way has all that follow it refused, and one that comes late, from
//! a relay that has been replaced meanwhile, is refused as well. So messages may be sent without waiting for each other's answers, and
//! each SKU's stay in order.
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{ConnectOptions, HeaderMap, ServerAddr, header};

use super::{Settings, message};
use crate::domain::Movement;

/// Messages that are sent before the first answer, at most.
pub const AT_ONCE: usize = 2_048;
/// How long a connection, and each answer, is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// For how long a stream keeps messages, if it is made here. One that is there already is taken as it is.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Why something could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Someone else has written to the stream.
    #[error("another has written to the stream")]
    Overtaken,
    /// It does not answer, or refuses.
    #[error("{0}")]
    Failed(String),
}

impl BrokerError {
    fn failed(doing: &str, cause: impl std::fmt::Display) -> Self {
        BrokerError::Failed(format!("{doing}: {cause}"))
    }
}

/// The stream, connected.
pub struct Broker {
    context: Context,
    stream: Stream,
    subject: String,
    /// The sequence of the message that was stored last.
    last: u64,
}

impl Broker {
    /// Connects, and makes the stream if there is none.
    pub async fn connect(settings: &Settings) -> Result<Self, BrokerError> {
        let servers: Result<Vec<ServerAddr>, _> = settings.urls.iter().map(|url| url.parse()).collect();
        let servers = servers.map_err(|error| BrokerError::failed("--nats-url", error))?;
        let connecting = ConnectOptions::new()
            .name("assent inventory")
            .connection_timeout(WITHIN)
            // Whoever uses it begins anew when it is lost, and then nothing of before may still be sent.
            .max_reconnects(servers.len())
            .connect(&servers[..]);
        let client = tokio::time::timeout(WITHIN, connecting).await;
        let client = client.map_err(|_| BrokerError::Failed("NATS does not answer".to_owned()))?;
        let client = client.map_err(|error| BrokerError::failed("can't connect to NATS", error))?;
        let context = ContextBuilder::new().timeout(WITHIN).max_ack_inflight(AT_ONCE).build(client);
        let mut stream = stream(&context, settings).await?;
        let info = stream.info().await.map_err(|error| BrokerError::failed("the stream's state", error))?;
        let last = info.state.last_sequence;
        Ok(Broker { context, stream, subject: settings.subject.clone(), last })
    }

    /// The sequence of the message that was stored last; 0 if none ever was.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The sequence of the last movement of a SKU that the stream still has.
    pub async fn last_of(&self, sku: &str) -> Result<Option<i64>, BrokerError> {
        let found = self.stream.get_last_raw_message_by_subject(&self.subject_of(sku)).await;
        match found {
            Ok(found) => Ok(found.headers.get(header::NATS_MESSAGE_ID).and_then(|id| message::sequence(id.as_str()))),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(BrokerError::failed("the stream's last message", error)),
        }
    }

    /// Passes on movements, at most [`AT_ONCE`], in this order. After an error, it is not known how many were taken.
    pub async fn publish(&mut self, movements: &[Movement]) -> Result<(), BrokerError> {
        let mut answers = Vec::with_capacity(movements.len());
        for (expected, movement) in (self.last..).zip(movements) {
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_MESSAGE_ID, message::id(&movement.sku, movement.sequence).as_str());
            headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, expected.to_string().as_str());
            let body = message::body(movement).map_err(|error| BrokerError::failed("a movement", error))?;
            let sent = self.context.publish_with_headers(self.subject_of(&movement.sku), headers, body.into()).await;
            answers.push(sent.map_err(refused)?);
        }
        for answer in answers {
            let stored = answer.await.map_err(refused)?;
            // It has it already, so it stands elsewhere than expected.
            if stored.duplicate || stored.sequence != self.last + 1 {
                return Err(BrokerError::Overtaken);
            }
            self.last = stored.sequence;
        }
        Ok(())
    }

    fn subject_of(&self, sku: &str) -> String {
        format!("{}.{}", self.subject, message::token(sku))
    }
}

fn refused(error: async_nats::jetstream::context::PublishError) -> BrokerError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => BrokerError::Overtaken,
        _ => BrokerError::failed("the stream does not take a message", error),
    }
}

async fn stream(context: &Context, settings: &Settings) -> Result<Stream, BrokerError> {
    match context.get_stream(&settings.stream).await {
        Ok(stream) => return Ok(stream),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => (),
            _ => return Err(BrokerError::failed("can't find the stream", error)),
        },
    }
    let config = Config {
        name: settings.stream.clone(),
        subjects: vec![format!("{}.*", settings.subject)],
        description: Some("The movements of Assent's stock ledger, in the order of each SKU".to_owned()),
        storage: StorageType::File,
        max_age: KEPT,
        ..Config::default()
    };
    context.create_stream(config).await.map_err(|error| BrokerError::failed("can't make the stream", error))
}
