//! Orders whose stock, order and authorisation commit together, and which are shipped by a foreign service before they are
//! paid: what that service does, or does not, holds up nobody else.
use std::time::Duration;

use nix::sys::signal::Signal;
use proto::assent::inventory::v1::GetStockRequest;
use proto::assent::order::v1::{
    ListOrdersRequest, Order, OrderMode, OrderState, PlaceOrderRequest, PlaceOrderResponse,
};
use proto::assent::payment::v1::GetAccountRequest;
use proto::assent::transaction::v1::ListTransactionsRequest;
use tests::{Basket, Client, Service, doctor, error_info, gbp, timed, until};
use tonic::{Code, Status};

use super::generic::World;

const WITHIN: Duration = Duration::from_secs(20);

fn request(request_id: &str, roses: i64, shipping: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        mode: OrderMode::Hybrid.into(),
        shipping: shipping.as_bytes().to_vec(),
        ..Basket::of("iris").line("rose", roses, 100).request(request_id)
    }
}

async fn place(client: &Client, request: PlaceOrderRequest) -> Result<PlaceOrderResponse, Status> {
    Ok(client.orders.clone().place_order(timed(request)).await?.into_inner())
}

/// The same call until its outcome is known.
async fn insist(client: &Client, request: PlaceOrderRequest) -> Result<PlaceOrderResponse, Status> {
    let began = std::time::Instant::now();
    loop {
        match place(client, request.clone()).await {
            Err(status) if [Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&status.code()) => {
                assert!(began.elapsed() < WITHIN, "never known: {status}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}

/// What is on hand and held of the roses, and in and held of the account.
async fn figures(client: &Client) -> (i64, i64, i64, i64) {
    let stock = timed(GetStockRequest { sku: "rose".to_owned(), ..GetStockRequest::default() });
    let stock = client.stock.clone().get_stock(stock).await.unwrap().into_inner().item.unwrap();
    let account = timed(GetAccountRequest { account: "iris".to_owned() });
    let account = client.accounts.clone().get_account(account).await.unwrap().into_inner().account.unwrap();
    let minor = |money: Option<proto::google::r#type::Money>| money.unwrap().to_minor().unwrap();
    (stock.on_hand, stock.held, minor(account.balance), minor(account.held))
}

async fn becomes(client: &Client, what: &str, expected: (i64, i64, i64, i64)) {
    until(what, WITHIN, async || figures(client).await == expected).await;
}

async fn orders(client: &Client) -> Vec<Order> {
    let request = ListOrdersRequest { account: "iris".to_owned(), ..ListOrdersRequest::default() };
    client.list(request).await.unwrap().orders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_shipped_and_then_paid_or_undone_whole() {
    let world = World::start().await;
    let client = &world.client;
    let placed = place(client, request("h-1", 2, "london 2")).await.unwrap();
    let order = placed.order.unwrap();
    assert_ne!(order.order_id, placed.transaction_id);
    becomes(client, "sold and captured", (8, 0, 800, 0)).await;
    until("the order is marked as shipped", WITHIN, async || {
        client.order(&order.order_id).await.unwrap().state() == OrderState::Shipped
    })
    .await;
    let order = client.order(&order.order_id).await.unwrap();
    assert_eq!(order.total, Some(gbp(200)));
    assert_eq!(world.taken("london").await, 2);
    let again = place(client, request("h-1", 2, "london 2")).await.unwrap();
    assert_eq!(again.order.unwrap().order_id, order.order_id);
    let other = place(client, request("h-1", 2, "london 1")).await.unwrap_err();
    assert_eq!(error_info(&other).0, "REQUEST_ID_REUSED");

    // It can't be shipped, or nobody can read where to: all of it is undone.
    for (request_id, shipping, why) in [("h-2", "leeds 11", "NO_ROOM"), ("h-7", "to my aunt", "INVALID_BRANCH")] {
        let refused = place(client, request(request_id, 3, shipping)).await.unwrap_err();
        let (reason, ids) = error_info(&refused);
        assert_eq!((refused.code(), reason.as_str()), (Code::FailedPrecondition, why));
        client.settled(WITHIN).await;
        becomes(client, "put back and voided", (8, 0, 800, 0)).await;
        let cancelled = client.order(&ids["order_id"]).await.unwrap();
        assert_eq!((cancelled.state(), cancelled.refunded), (OrderState::Cancelled, None));
    }

    // Refused before anything was shipped: there is no order, and nobody was asked to ship it. Who pays has enough for all of it, or
    // either refusal might come first.
    client.open_account("rich", 100_000).await;
    for (request_id, roses) in [("h-3", 99), ("h-4", 9)] {
        let more = PlaceOrderRequest { account: "rich".to_owned(), ..request(request_id, roses, "london 1") };
        assert_eq!(error_info(&place(client, more).await.unwrap_err()).0, "OUT_OF_STOCK");
    }
    let poor = PlaceOrderRequest { account: "nobody".to_owned(), ..request("h-5", 1, "london 1") };
    assert_eq!(error_info(&place(client, poor).await.unwrap_err()).0, "UNKNOWN_ACCOUNT");
    client.settled(WITHIN).await;
    assert_eq!((figures(client).await, world.taken("london").await), ((8, 0, 800, 0), 2));
    let plain = PlaceOrderRequest { mode: OrderMode::Atomic.into(), ..request("h-6", 1, "london 1") };
    assert_eq!(place(client, plain).await.unwrap_err().code(), Code::InvalidArgument);
    doctor::all_holds(&world.system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shipping_that_stands_still_for_seconds_keeps_no_stock_in_doubt() {
    let world = World::start().await;
    let client = &world.client;
    world.shipping.signal(Signal::SIGSTOP);
    let placing = {
        let client = client.clone();
        tokio::spawn(async move { insist(&client, request("slow", 3, "london 3")).await })
    };
    // The money is authorised and the stock sold, and nothing of either is in doubt.
    becomes(client, "sold and authorised", (7, 0, 1_000, 300)).await;
    until("the order is confirmed", WITHIN, async || {
        orders(client).await.first().is_some_and(|order| order.state() == OrderState::Confirmed)
    })
    .await;
    for service in Service::PARTICIPANTS {
        let pool = world.system.pool(service);
        until("nothing is prepared", WITHIN, async || prepared_count(&pool).await == 0).await;
    }
    // Others are not held up, also not by what it has sold.
    let began = std::time::Instant::now();
    for turn in 0..20 {
        client.place(&format!("other-{turn}"), &Basket::of("iris").line("rose", 1, 1)).await;
    }
    let took = began.elapsed();
    println!("20 orders beside one whose shipping stands still took {} ms", took.as_millis());
    assert!(took < Duration::from_secs(5), "{took:?}");
    until("shipping was asked in vain", WITHIN, async || {
        let newest = ListTransactionsRequest { page_size: 500, ..ListTransactionsRequest::default() };
        let listed = client.transactions.clone().list_transactions(timed(newest)).await.unwrap().into_inner();
        let mut steps = listed.transactions.iter().flat_map(|summary| &summary.saga).flat_map(|saga| &saga.steps);
        steps.any(|step| step.name == "ship" && !step.last_error.is_empty())
    })
    .await;
    world.shipping.signal(Signal::SIGCONT);
    placing.await.unwrap().unwrap();
    becomes(client, "captured", (0, 0, 1_000 - 300 - 7, 0)).await;
    client.settled(WITHIN).await;
    doctor::all_holds(&world.system).await;
}

async fn prepared_count(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM branch_in_doubt").fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_may_die_between_any_two_steps() {
    let world = World::start_with(2).await;
    let (system, other) = (&world.system, world.system.client_of(1));
    // With what is to be shipped: of leeds there is too little, so that the saga turns.
    let points = [
        ("saga.after_start", "london 1"),
        ("stage.after", "london 1"),
        ("decide.before_answer", "london 1"),
        ("commit.before_send", "london 1"),
        ("saga.before_result", "london 1"),
        ("saga.after_result", "london 1"),
        ("execute.after_send", "london 1"),
        // Of the child that captures.
        ("stage.after#2", "london 1"),
        ("saga.before_turn", "leeds 11"),
        ("saga.after_turn", "leeds 11"),
        // Of the child that undoes the group.
        ("stage.after#2", "leeds 11"),
        ("commit.before_send#2", "leeds 11"),
        ("saga.before_compensated", "leeds 11"),
    ];
    let (mut shipped, mut undone, mut sold) = (0, 0, 0);
    let first = system.coordinator(0);
    for (round, (point, shipping)) in points.into_iter().enumerate() {
        let name = point.split('#').next().unwrap();
        first.stop().await;
        first.start_with(&[("ASSENT_CRASH_POINT", point)]);
        first.healthy().await;
        let asked = PlaceOrderRequest { ..request(&format!("die-{round}"), 1, shipping) };
        other.adjust_stock("rose", 1, &format!("more-{round}")).await.unwrap();
        let client = system.client();
        let (answer, halted) = tokio::join!(place(&client, asked.clone()), first.halts_at(name, WITHIN));
        assert!(halted, "{point} was not passed: {answer:?}");
        let answer = insist(&other, asked).await;
        other.settled(WITHIN).await;
        println!("the coordinator died at {point}: {:?}", answer.as_ref().map(|_| "shipped").map_err(error_info));
        match answer {
            Ok(placed) => {
                let order = placed.order.unwrap();
                // It is answered when it is shipped; what comes after that goes on.
                until(point, WITHIN, async || {
                    other.order(&order.order_id).await.unwrap().state() == OrderState::Shipped
                })
                .await;
                (shipped, sold) = (shipped + 1, sold + 1);
            }
            Err(status) => {
                assert!([Code::FailedPrecondition, Code::Aborted].contains(&status.code()), "{point}: {status}");
                undone += 1;
            }
        }
        let on_hand = 10 + i64::try_from(round).unwrap() + 1 - sold;
        becomes(&other, point, (on_hand, 0, 1_000 - 100 * sold, 0)).await;
        assert_eq!((world.taken("london").await, world.taken("leeds").await), (sold, 0), "{point}");
        first.start_healthy().await;
    }
    println!("{shipped} shipped, {undone} undone");
    assert_eq!((shipped, undone), (8, 5));
    doctor::all_holds(system).await;
}
