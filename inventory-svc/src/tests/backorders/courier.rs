//! The courier: what orders have got is told to a coordinator until it is done with, whatever it answers meanwhile.
use std::sync::{Arc, Mutex};

use proto::assent::order::v1 as order_api;
use proto::assent::order::v1::allotment_service_server::{AllotmentService, AllotmentServiceServer};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Response;

use super::*;
use crate::courier;

/// A coordinator that answers as it is told to, and then settles.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<Vec<Status>>>,
    asked: Arc<Mutex<Vec<order_api::SettleAllotmentRequest>>>,
}

#[tonic::async_trait]
impl AllotmentService for Scripted {
    async fn settle_allotment(
        &self,
        request: Request<order_api::SettleAllotmentRequest>,
    ) -> Result<Response<order_api::SettleAllotmentResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        match self.answers.lock().unwrap().pop() {
            Some(answer) => Err(answer),
            None => Ok(Response::new(order_api::SettleAllotmentResponse { transaction_id: Uuid::nil().to_string() })),
        }
    }
}

#[tokio::test]
async fn an_allotment_is_told_until_it_is_settled_and_anew_only_if_it_was_refused() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 2).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 10).await;
    let mine = order(Allowed::Partial, &[("a", 3)]);
    place(&pool, &mine).await;
    let scripted = Scripted::default();
    scripted
        .answers
        .lock()
        .unwrap()
        .extend([Status::failed_precondition("the payment is in doubt"), Status::unavailable("who knows")]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(AllotmentServiceServer::new(scripted.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    tokio::spawn(courier::deliver_all(pool.clone(), vec![address]));
    let settled = async |count: i64| {
        let done = async {
            let read = "SELECT count(*) FROM allotment WHERE settled";
            while sqlx::query_scalar::<_, i64>(read).fetch_one(&*pool).await.unwrap() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), done).await.expect("it is settled");
    };
    settled(1).await;
    adjust(&service, "a", 1, "").await.unwrap();
    settled(2).await;
    let asked = scripted.asked.lock().unwrap().clone();
    let line = |first, quantity| order_api::AllottedLine { sku: "a".to_owned(), first, quantity };
    assert_eq!(asked.iter().map(|asked| asked.attempt).collect::<Vec<_>>(), [1, 1, 2, 1]);
    assert!(asked.iter().all(|asked| asked.order_id == mine.transaction_id.to_string()));
    assert!(asked[..3].iter().all(|asked| asked.lines == [line(0, 2)]));
    assert_eq!(asked[3].lines, [line(2, 1)]);
}
