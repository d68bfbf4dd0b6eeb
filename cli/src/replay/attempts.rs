//! Places one invoice, through lost answers and participants that are down, at most once.
//!
//! The request id is made from the invoice's number, so the file run again asks again for the same orders and is
//! answered from what stands. A lost answer is asked for again under the same id. Only after the definite answer that
//! an attempt was aborted does the next one begin, under an id of its own; a later run walks the same ids in the same
//! order and so ends at the same attempt.
use std::time::{Duration, Instant};

use proto::assent::order::v1 as wire;
use proto::assent::order::v1::order_service_client::OrderServiceClient;
use proto::google::r#type::Money;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::invoices::{CURRENCY, Invoice};
use crate::client::Services;
use crate::failure::{metadata, reason};
use crate::mode::Mode;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(2);

/// What became of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The order is placed.
    Confirmed,
    /// It is refused, for this reason.
    Refused(String),
    /// It could not be placed, for this reason.
    Failed(String),
    /// Nobody could tell in time.
    Unknown,
}

/// The newest transaction there was before this run; empty if there was none.
#[derive(Debug, Clone, Default)]
pub struct NewestBefore(pub String);

impl NewestBefore {
    /// Whether the transaction is of an earlier run: their ids begin with their time, so older ones sort before.
    pub fn precedes(&self, transaction_id: Option<&str>) -> bool {
        transaction_id.is_none_or(|id| id.is_empty() || id > self.0.as_str())
    }
}

/// How orders are placed.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// In which mode.
    pub mode: Mode,
    /// What is shipped in between, if that is the mode.
    pub shipping: &'a str,
}

/// What became of an invoice, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What.
    pub outcome: Outcome,
    /// The transaction that was answered with, where the answer names it.
    pub transaction_id: Option<String>,
    /// The order, if it is placed.
    pub order_id: Option<String>,
    /// How many calls it took beyond the first.
    pub repeats: u64,
}

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// This is how it ends.
    End(Outcome),
    /// The same call once more.
    Repeat,
    /// The next attempt.
    Attempt,
}

fn next(status: &Status) -> Next {
    let reason = || reason(status).unwrap_or_else(|| format!("{:?}", status.code()));
    match status.code() {
        Code::FailedPrecondition => Next::End(Outcome::Refused(reason())),
        Code::Aborted => Next::Attempt,
        // All of these may have run. So may an internal error, which a second try may not meet.
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Unknown
        | Code::Internal
        | Code::ResourceExhausted => Next::Repeat,
        _ => Next::End(Outcome::Failed(reason())),
    }
}

/// The name of an attempt at an invoice.
fn request_id(invoice: &str, attempt: u32) -> String {
    match attempt {
        1 => format!("replay/{invoice}"),
        _ => format!("replay/{invoice}/attempt-{attempt}"),
    }
}

/// Waits between tries: twice as long each time, up to a limit.
pub struct Backoff {
    wait: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Tries for as long as `patience`.
    pub fn new(patience: Duration) -> Self {
        Backoff { wait: FIRST_BACKOFF, deadline: Instant::now() + patience }
    }

    /// Waits; false if the patience is at its end.
    pub async fn wait(&mut self) -> bool {
        if Instant::now() + self.wait > self.deadline {
            return false;
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LAST_BACKOFF);
        true
    }
}

/// Places `invoice`, with so much patience.
pub async fn place(
    mut client: OrderServiceClient<Channel>,
    services: &Services,
    invoice: &Invoice,
    newest_before: &NewestBefore,
    patience: Duration,
    how: How<'_>,
) -> Placed {
    let lines: Vec<wire::OrderLine> = invoice
        .lines
        .iter()
        .map(|line| wire::OrderLine {
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price: Some(Money::from_minor(CURRENCY, line.unit_price_minor)),
            ..wire::OrderLine::default()
        })
        .collect();
    let (mut attempt, mut repeats) = (1, 0);
    let mut backoff = Backoff::new(patience);
    loop {
        let message = wire::PlaceOrderRequest {
            request_id: request_id(&invoice.number, attempt),
            account: invoice.account.clone(),
            lines: lines.clone(),
            mode: wire::OrderMode::from(how.mode).into(),
            shipping: how.shipping.as_bytes().to_vec(),
            ..wire::PlaceOrderRequest::default()
        };
        let mut request = services.request(message);
        if repeats > 0 {
            // As gRPC's own retries say it: the coordinator then takes no second hold before it knows of the first.
            request.metadata_mut().insert("grpc-previous-rpc-attempts", repeats.into());
        }
        let status = match client.place_order(request).await {
            Ok(answer) => {
                let wire::PlaceOrderResponse { order, transaction_id } = answer.into_inner();
                let order_id = order.map(|order| order.order_id);
                let transaction_id = Some(transaction_id);
                return Placed { outcome: Outcome::Confirmed, transaction_id, order_id, repeats };
            }
            Err(status) => status,
        };
        let transaction_id = metadata(&status, "transaction_id");
        let given_up = match next(&status) {
            Next::End(outcome) => return Placed { outcome, transaction_id, order_id: None, repeats },
            Next::Repeat => Outcome::Unknown,
            Next::Attempt => {
                attempt += 1;
                if !newest_before.precedes(transaction_id.as_deref()) {
                    continue; // an earlier run's attempt: what hindered it then need not be waited for now
                }
                Outcome::Failed(reason(&status).unwrap_or_else(|| "TRANSACTION_ABORTED".to_owned()))
            }
        };
        if !backoff.wait().await {
            return Placed { outcome: given_up, transaction_id, order_id: None, repeats };
        }
        repeats += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use clap::Parser;
    use proto::assent::order::v1::order_service_server::{OrderService, OrderServiceServer};
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;

    #[test]
    fn only_a_definite_abort_begins_another_attempt() {
        assert_eq!(next(&Status::aborted("timed out")), Next::Attempt);
        for doubt in [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown, Code::Internal] {
            assert_eq!(next(&Status::new(doubt, "lost")), Next::Repeat, "{doubt:?}");
        }
        let refused = Next::End(Outcome::Refused("FailedPrecondition".to_owned()));
        assert_eq!(next(&Status::failed_precondition("no")), refused);
        assert_eq!(next(&Status::invalid_argument("no")), Next::End(Outcome::Failed("InvalidArgument".to_owned())));
    }

    #[test]
    fn every_run_walks_the_same_request_ids() {
        let ids: Vec<String> = (1..=3).map(|attempt| request_id("536365", attempt)).collect();
        assert_eq!(ids, ["replay/536365", "replay/536365/attempt-2", "replay/536365/attempt-3"]);
    }

    /// Answers as the script says, and remembers what it was asked.
    #[derive(Clone, Default)]
    struct Scripted {
        answers: Arc<Mutex<VecDeque<Status>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    #[tonic::async_trait]
    impl OrderService for Scripted {
        async fn place_order(
            &self,
            request: tonic::Request<wire::PlaceOrderRequest>,
        ) -> Result<tonic::Response<wire::PlaceOrderResponse>, Status> {
            self.asked.lock().unwrap().push(request.into_inner().request_id);
            match self.answers.lock().unwrap().pop_front() {
                Some(status) => Err(status),
                None => Ok(tonic::Response::new(wire::PlaceOrderResponse::default())),
            }
        }

        async fn get_order(
            &self,
            _: tonic::Request<wire::GetOrderRequest>,
        ) -> Result<tonic::Response<wire::GetOrderResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn list_orders(
            &self,
            _: tonic::Request<wire::ListOrdersRequest>,
        ) -> Result<tonic::Response<wire::ListOrdersResponse>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    /// What became of invoice 7 after these answers, and which request ids were asked for.
    async fn played(answers: Vec<Status>, patience_ms: u64) -> (Placed, Vec<String>) {
        let scripted = Scripted { answers: Arc::new(Mutex::new(answers.into())), ..Scripted::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(OrderServiceServer::new(scripted.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let cli = crate::Cli::try_parse_from(["assent", "--coordinator", &address, "stock", "ls"]).unwrap();
        let invoice = Invoice { number: "7".to_owned(), account: "a".to_owned(), lines: Vec::new() };
        let client = cli.services.orders().await.unwrap();
        let placed = place(
            client,
            &cli.services,
            &invoice,
            &NewestBefore::default(),
            Duration::from_millis(patience_ms),
            How { mode: Mode::Atomic, shipping: "" },
        )
        .await;
        let asked = scripted.asked.lock().unwrap().clone();
        (placed, asked)
    }

    #[tokio::test]
    async fn a_lost_answer_repeats_the_call_and_an_abort_begins_the_next_attempt() {
        let answers = vec![Status::unavailable("lost"), Status::aborted("timed out"), Status::cancelled("lost")];
        let (placed, asked) = played(answers, 60_000).await;
        assert_eq!((placed.outcome, placed.repeats), (Outcome::Confirmed, 3));
        assert_eq!(asked, ["replay/7", "replay/7", "replay/7/attempt-2", "replay/7/attempt-2"]);
    }

    #[tokio::test]
    async fn patience_ends_in_doubt_and_never_in_a_guess() {
        let (placed, asked) = played(vec![Status::unavailable("lost"); 9], 150).await;
        assert_eq!(placed.outcome, Outcome::Unknown);
        assert_eq!(asked, ["replay/7", "replay/7"]);
        let (placed, _) = played(vec![Status::failed_precondition("no")], 60_000).await;
        assert_eq!((placed.outcome, placed.repeats), (Outcome::Refused("FailedPrecondition".to_owned()), 0));
    }
}
