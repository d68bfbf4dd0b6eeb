//! Calls to an OrderService, and to a server that answers anything.
use http::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::shop::{Plan, Shop, Workload};
use crate::testing::{Scripted, caller, overloaded, refused};

fn order() -> PlaceOrderRequest {
    let mut rng = rand::rng();
    Shop::new(&Plan::of_test(Workload::Uniform)).unwrap().order(&mut rng, "id".to_owned())
}

/// What a server of HTTP/2 answers to each call.
#[derive(Clone)]
struct Answer {
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<&'static [u8]>,
    trailers: Option<Vec<(&'static str, &'static str)>>,
}

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

/// Answers all calls on all connections so.
fn serve(listener: TcpListener, answer: Answer) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let Answer { headers, body, trailers } = &answer;
                    let mut response = Response::new(());
                    *response.headers_mut() = map(headers);
                    let mut stream = respond.send_response(response, body.is_empty() && trailers.is_none()).unwrap();
                    for part in body {
                        stream.send_data(Bytes::from_static(part), trailers.is_none()).unwrap();
                    }
                    if let Some(trailers) = trailers {
                        stream.send_trailers(map(trailers)).unwrap();
                    }
                }
            });
        }
    })
}

async fn outcome_of(answer: Answer) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = serve(listener, answer);
    let outcome = Orders::connect(&address, &caller()).await.unwrap().place(&order()).await;
    server.abort();
    outcome
}

#[tokio::test]
async fn an_answer_is_what_the_service_says() {
    let script = |number| match number {
        0 => Ok(()),
        1 => Err(refused("OUT_OF_STOCK")),
        2 => Err(overloaded()),
        _ => Err(Status::unavailable("")),
    };
    let (_, connections) = Scripted::new(script).serve().await;
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(connections[0].place(&order()).await);
    }
    let reason = |reason: &str| reason.to_owned();
    let expected = [
        Outcome::Confirmed,
        Outcome::Refused(reason("OUT_OF_STOCK")),
        Outcome::Overloaded(reason("OVERLOADED")),
        Outcome::Unknown(reason("Unavailable")),
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn what_is_no_answer_of_grpc_is_doubt_and_no_panic() {
    let ok = || Some(vec![("grpc-status", "0")]);
    let sound = Answer { headers: vec![], body: vec![b"\0\0\0", b"\0\0"], trailers: ok() };
    assert_eq!(outcome_of(sound.clone()).await, Outcome::Confirmed, "in two parts");
    let internal = Outcome::Unknown("Internal".to_owned());
    for (answer, expected) in [
        (Answer { trailers: None, body: vec![b"\0\0\0\0\0"], ..sound.clone() }, internal.clone()),
        (Answer { body: vec![], ..sound.clone() }, internal.clone()),
        (Answer { body: vec![b"\0\0"], ..sound.clone() }, internal.clone()),
        (Answer { body: vec![b"\0\0\0\0\x02\xff\xff"], ..sound.clone() }, internal),
        (
            Answer { trailers: Some(vec![("grpc-status", "9"), ("grpc-status-details-bin", "%%%")]), ..sound.clone() },
            Outcome::Refused("FailedPrecondition".to_owned()),
        ),
        (
            Answer { headers: vec![("grpc-status", "often")], body: vec![], trailers: None },
            Outcome::Unknown("Unknown".to_owned()),
        ),
    ] {
        assert_eq!(outcome_of(answer).await, expected);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let answer = Answer { headers: vec![], body: vec![b"\0\0\0\0\0"], trailers: Some(vec![("grpc-status", "0")]) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gone = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        // The call is read, and all ends.
        connection.accept().await.unwrap().unwrap();
    });
    let orders = Orders::connect(&address.to_string(), &caller()).await.unwrap();
    let unavailable = Outcome::Unknown("Unavailable".to_owned());
    assert_eq!(orders.place(&order()).await, unavailable, "it may have been placed");
    gone.await.unwrap();
    assert_eq!(orders.place(&order()).await, unavailable, "nobody is there");
    let server = serve(TcpListener::bind(address).await.unwrap(), answer);
    assert_eq!(orders.place(&order()).await, Outcome::Confirmed);
    server.abort();
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_doubt() {
    let scripted = Scripted::new(|_| Ok(())).taking(Duration::from_secs(60));
    let (_, address) = scripted.listen().await;
    let caller = Caller { timeout: Duration::from_millis(50), ..caller() };
    let orders = Orders::connect(&address, &caller).await.unwrap();
    let outcome = orders.place(&order()).await;
    assert!(matches!(&outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn there_is_no_connection_to_what_is_no_address_or_where_nobody_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in ["", "no address", "https://127.0.0.1:1", "http://", &address] {
        assert_eq!(Orders::connect(address, &caller()).await.unwrap_err(), NoConnection, "{address:?}");
    }
}
