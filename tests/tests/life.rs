//! The order's life end to end: cancelled, shipped, returned and refunded, while services die and others do the same.
use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use proto::assent::inventory::v1::GetStockRequest;
use proto::assent::order::v1::watch_order_response::Told;
use proto::assent::order::v1::{
    CancelOrderRequest, ListOrdersRequest, Order, OrderEvent, OrderEventKind, OrderState, RefundOrderRequest,
    ReturnCondition, ReturnLine, ReturnOrderRequest, ShipOrderRequest, WatchOrderRequest,
};
use tests::{Basket, Client, Service, System, doctor, error_info, gbp, shared, timed, until};
use tonic::{Code, Status};

/// As soon as everything is up again.
const RESOLVED_WITHIN: Duration = Duration::from_secs(20);

/// What one can do with an order; each answers the transaction.
struct Shop(Client);

impl Shop {
    /// A customer with 1,000.00 and an order of three roses and a vase, at 1.00 and 5.00.
    async fn with_order(client: &Client, name: &str) -> (Shop, String) {
        client.open_account(name, 100_000).await;
        client.set_stock(&format!("{name}-rose"), 10).await;
        client.set_stock(&format!("{name}-vase"), 10).await;
        let basket = Basket::of(name).line(&format!("{name}-rose"), 3, 100).line(&format!("{name}-vase"), 1, 500);
        let answer = client.place(&format!("{name}-place"), &basket).await;
        let order_id = answer.confirmed().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        (Shop(client.clone()), order_id)
    }

    async fn cancel(&self, order_id: &str, request_id: &str) -> Result<String, Status> {
        let request = CancelOrderRequest {
            order_id: order_id.to_owned(),
            request_id: request_id.to_owned(),
            reason: "changed their mind".to_owned(),
            timeout_ms: 0,
        };
        Ok(self.0.orders.clone().cancel_order(timed(request)).await?.into_inner().transaction_id)
    }

    async fn ship(&self, order_id: &str, request_id: &str) -> Result<String, Status> {
        let request = ShipOrderRequest {
            order_id: order_id.to_owned(),
            request_id: request_id.to_owned(),
            tracking: "parcel 7".to_owned(),
            timeout_ms: 0,
        };
        Ok(self.0.orders.clone().ship_order(timed(request)).await?.into_inner().transaction_id)
    }

    async fn bring_back(
        &self,
        order_id: &str,
        request_id: &str,
        lines: &[(&str, i64, ReturnCondition)],
    ) -> Result<(Order, String), Status> {
        let line = |(sku, quantity, condition): &(&str, i64, ReturnCondition)| ReturnLine {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            condition: (*condition).into(),
        };
        let request = ReturnOrderRequest {
            order_id: order_id.to_owned(),
            request_id: request_id.to_owned(),
            lines: lines.iter().map(line).collect(),
            refund: None,
            reason: "does not fit".to_owned(),
            timeout_ms: 0,
        };
        let answer = self.0.orders.clone().return_order(timed(request)).await?.into_inner();
        Ok((answer.order.expect("an order"), answer.transaction_id))
    }

    async fn refund(&self, order_id: &str, request_id: &str, minor: i64) -> Result<String, Status> {
        let request = RefundOrderRequest {
            order_id: order_id.to_owned(),
            request_id: request_id.to_owned(),
            amount: Some(gbp(minor)),
            reason: "a scratch".to_owned(),
            timeout_ms: 0,
        };
        Ok(self.0.orders.clone().refund_order(timed(request)).await?.into_inner().transaction_id)
    }

    async fn events(&self, order_id: &str) -> Vec<OrderEvent> {
        let request = proto::assent::order::v1::ListOrderEventsRequest {
            order_id: order_id.to_owned(),
            page_size: 100,
            page_token: String::new(),
        };
        self.0.orders.clone().list_order_events(timed(request)).await.unwrap().into_inner().events
    }

    async fn state(&self, order_id: &str) -> OrderState {
        self.0.order(order_id).await.unwrap().state()
    }
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    error_info(&answer.unwrap_err()).0
}

#[tokio::test]
async fn a_cancelled_order_gives_everything_back_and_can_be_nothing_else_any_more() {
    let system = shared().await;
    let (shop, order) = Shop::with_order(&system.client(), "anna").await;
    let cancelled = shop.cancel(&order, "anna-cancel").await.unwrap();
    // Read at once, through either coordinator.
    for client in [system.client(), system.client_of(1)] {
        assert_eq!(client.order(&order).await.unwrap().state(), OrderState::Cancelled);
        let request = ListOrdersRequest {
            account: "anna".to_owned(),
            state: OrderState::Cancelled.into(),
            ..ListOrdersRequest::default()
        };
        let listed = client.list(request).await.unwrap().orders;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].refunded, Some(gbp(800)));
    }
    shop.0.stock_becomes("anna-rose", 10).await;
    shop.0.stock_becomes("anna-vase", 10).await;
    shop.0.balance_becomes("anna", 100_000).await;
    // The same request again, at the other coordinator too, is the same transaction; another one is too late.
    assert_eq!(shop.cancel(&order, "anna-cancel").await.unwrap(), cancelled);
    assert_eq!(Shop(system.client_of(1)).cancel(&order, "anna-cancel").await.unwrap(), cancelled);
    assert_eq!(reason(shop.cancel(&order, "anna-again").await), "ALREADY_CANCELLED");
    assert_eq!(reason(shop.cancel(&order, "anna-again").await), "ALREADY_CANCELLED");
    assert_eq!(reason(shop.ship(&order, "anna-ship").await), "ALREADY_CANCELLED");
    assert_eq!(reason(shop.refund(&order, "anna-refund", 1).await), "ALREADY_CANCELLED");
    assert_eq!(reason(shop.ship(&order, "anna-cancel").await), "REQUEST_ID_REUSED");
    assert_eq!(shop.0.order(&cancelled).await.unwrap_err().code(), Code::NotFound);
    let events = shop.events(&order).await;
    assert_eq!(events.len(), 3);
    assert_eq!(
        (events[2].actor.as_str(), events[2].reason.as_str(), events[2].transaction_id.as_str()),
        ("default", "changed their mind", cancelled.as_str())
    );
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn a_shipped_order_comes_back_in_parts_and_what_is_damaged_is_not_sold_again() {
    let system = shared().await;
    let (shop, order) = Shop::with_order(&system.client(), "ben").await;
    use ReturnCondition::{Damaged, Sellable};
    let early = shop.bring_back(&order, "ben-0", &[("ben-rose", 1, Sellable)]).await;
    assert_eq!(reason(early), "NOT_SHIPPED");
    shop.ship(&order, "ben-ship").await.unwrap();
    assert_eq!(reason(shop.cancel(&order, "ben-cancel").await), "ALREADY_SHIPPED");
    let part = [("ben-rose", 1, Sellable), ("ben-rose", 1, Damaged)];
    let (partly, first) = shop.bring_back(&order, "ben-1", &part).await.unwrap();
    assert_eq!((partly.state(), partly.refunded), (OrderState::PartiallyReturned, Some(gbp(200))));
    assert_eq!((partly.tracking.as_str(), partly.lines[0].returned_quantity), ("parcel 7", 2));
    assert_eq!(shop.bring_back(&order, "ben-1", &part).await.unwrap().1, first);
    let too_many = shop.bring_back(&order, "ben-2", &[("ben-rose", 2, Sellable)]).await;
    assert_eq!(reason(too_many), "RETURN_EXCEEDS_BOUGHT");
    let strange = shop.bring_back(&order, "ben-3", &[("anna-rose", 1, Sellable)]).await;
    assert_eq!(reason(strange), "RETURN_EXCEEDS_BOUGHT");
    shop.refund(&order, "ben-4", 50).await.unwrap();
    assert_eq!(reason(shop.refund(&order, "ben-5", 551).await), "REFUND_EXCEEDS_PAID");
    // What is left of what was paid is less than what it cost.
    let rest = [("ben-rose", 1, Sellable), ("ben-vase", 1, Sellable)];
    let (all, _) = shop.bring_back(&order, "ben-6", &rest).await.unwrap();
    assert_eq!((all.state(), all.refunded), (OrderState::Returned, Some(gbp(800))));
    shop.0.stock_becomes("ben-rose", 9).await;
    shop.0.stock_becomes("ben-vase", 10).await;
    shop.0.balance_becomes("ben", 100_000).await;
    let request = timed(GetStockRequest { sku: "ben-rose".to_owned(), ..GetStockRequest::default() });
    let rose = shop.0.stock.clone().get_stock(request).await.unwrap().into_inner().item.unwrap();
    assert_eq!((rose.available, rose.damaged), (9, 1));
    let kinds: Vec<OrderEventKind> = shop.events(&order).await.iter().map(OrderEvent::kind).collect();
    use OrderEventKind::{Confirmed, Placed, Refunded, Returned, Shipped};
    assert_eq!(kinds, [Placed, Confirmed, Shipped, Returned, Refunded, Returned]);
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn of_a_cancellation_and_a_shipment_at_the_same_time_exactly_one_wins() {
    let system = shared().await;
    let clients = [system.client(), system.client_of(1)];
    let mut won = BTreeMap::<&str, usize>::new();
    for round in 0..12 {
        let name = format!("race-{round}");
        let (shop, order) = Shop::with_order(&clients[0], &name).await;
        let other = Shop(clients[1].clone());
        let (cancel_id, ship_id) = (format!("{name}-cancel"), format!("{name}-ship"));
        let (cancelled, shipped) = tokio::join!(shop.cancel(&order, &cancel_id), other.ship(&order, &ship_id));
        assert_eq!(usize::from(cancelled.is_ok()) + usize::from(shipped.is_ok()), 1, "{cancelled:?} {shipped:?}");
        let state = shop.state(&order).await;
        let expected = if cancelled.is_ok() { OrderState::Cancelled } else { OrderState::Shipped };
        assert_eq!(state, expected);
        *won.entry(if cancelled.is_ok() { "cancelled" } else { "shipped" }).or_default() += 1;
        let lost = reason(if cancelled.is_ok() { shipped } else { cancelled });
        assert!(["ORDER_BUSY", "ALREADY_CANCELLED", "ALREADY_SHIPPED"].contains(&lost.as_str()), "{lost}");
        *won.entry(if lost == "ORDER_BUSY" { "busy" } else { "told why" }).or_default() += 1;
        let back = if expected == OrderState::Cancelled { 10 } else { 7 };
        shop.0.stock_becomes(&format!("{name}-rose"), back).await;
    }
    println!("12 races: {won:?}");
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn the_last_unit_comes_back_once_however_many_bring_it_at_a_time() {
    let system = shared().await;
    let clients = [system.client(), system.client_of(1)];
    let (shop, order) = Shop::with_order(&clients[0], "cleo").await;
    shop.ship(&order, "cleo-ship").await.unwrap();
    let bring = |number: usize| {
        let (shop, order) = (Shop(clients[number % 2].clone()), order.clone());
        async move {
            let request_id = format!("cleo-{number}");
            let lines = [("cleo-vase", 1, ReturnCondition::Sellable)];
            // Who was told that the order is busy comes again, as a new request.
            for tries in 0.. {
                let answer = shop.bring_back(&order, &format!("{request_id}-{tries}"), &lines).await;
                match answer {
                    Err(status) if status.code() == Code::Aborted => (),
                    answer => return answer,
                }
            }
            unreachable!()
        }
    };
    let answers = join_all((0..8).map(bring)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let refused = answers.into_iter().filter(Result::is_err).map(reason);
    assert!(refused.into_iter().all(|reason| reason == "RETURN_EXCEEDS_BOUGHT"));
    shop.0.stock_becomes("cleo-vase", 10).await;
    shop.0.balance_becomes("cleo", 100_000 - 300).await;
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn a_watcher_sees_each_event_once_and_goes_on_where_it_was_cut() {
    let system = shared().await;
    let (shop, order) = Shop::with_order(&system.client(), "dora").await;
    let watch = async |after_sequence| {
        let request = WatchOrderRequest { order_id: order.clone(), after_sequence };
        shop.0.orders.clone().watch_order(request).await.unwrap().into_inner()
    };
    let mut first = watch(None).await;
    let Some(Told::Order(seen)) = first.message().await.unwrap().unwrap().told else { panic!("no order") };
    assert_eq!((seen.state(), seen.version), (OrderState::Confirmed, 2));
    shop.refund(&order, "dora-1", 10).await.unwrap();
    shop.ship(&order, "dora-2").await.unwrap();
    let Some(Told::Event(refunded)) = first.message().await.unwrap().unwrap().told else { panic!("no event") };
    assert_eq!((refunded.sequence, refunded.kind()), (3, OrderEventKind::Refunded));
    drop(first);
    shop.refund(&order, "dora-3", 10).await.unwrap();
    let mut again = watch(Some(refunded.sequence)).await;
    let mut sequences = Vec::new();
    while sequences.len() < 2 {
        let Some(Told::Event(event)) = again.message().await.unwrap().unwrap().told else { panic!("no event") };
        sequences.push((event.sequence, event.kind()));
    }
    assert_eq!(sequences, [(4, OrderEventKind::Shipped), (5, OrderEventKind::Refunded)]);
    let nobody = WatchOrderRequest { order_id: uuid::Uuid::nil().to_string(), after_sequence: None };
    let nobody = shop.0.orders.clone().watch_order(nobody).await.unwrap_err();
    assert_eq!((nobody.code(), error_info(&nobody).0.as_str()), (Code::NotFound, "ORDER_NOT_FOUND"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let system = shared().await;
    let (shop, order) = Shop::with_order(&system.client(), "emil").await;
    let mut orders = shop.0.orders.clone();
    let good = ReturnOrderRequest {
        order_id: order.clone(),
        request_id: "emil-bad".to_owned(),
        lines: vec![ReturnLine { sku: "emil-rose".to_owned(), quantity: 1, condition: 0 }],
        ..ReturnOrderRequest::default()
    };
    let bad = [
        ("order_id", ReturnOrderRequest { order_id: "x".to_owned(), ..good.clone() }),
        ("lines", ReturnOrderRequest { lines: Vec::new(), ..good.clone() }),
        ("refund", ReturnOrderRequest { refund: Some(gbp(-1)), ..good.clone() }),
        ("reason", ReturnOrderRequest { reason: "x\u{0}".to_owned(), ..good.clone() }),
        ("timeout_ms", ReturnOrderRequest { timeout_ms: -1, ..good.clone() }),
        ("request_id", ReturnOrderRequest { request_id: "a b".to_owned(), ..good.clone() }),
    ];
    for (field, request) in bad {
        let status = orders.return_order(timed(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert!(status.message().starts_with(field), "{field}: {status}");
    }
    for (quantity, condition) in [(0, 0), (-1, 0), (i64::MAX, 0), (1, 99)] {
        let lines = vec![ReturnLine { sku: "emil-rose".to_owned(), quantity, condition }];
        let status = orders.return_order(timed(ReturnOrderRequest { lines, ..good.clone() })).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert_eq!(shop.refund(&order, "emil-0", 0).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = uuid::Uuid::now_v7().to_string();
    assert_eq!(reason(shop.cancel(&unknown, "emil-1").await), "ORDER_NOT_FOUND");
    let refused = shop.0.place("emil-2", &Basket::of("emil").line("emil-rose", 99, 1)).await;
    let tests::Answer::Refused { order_id, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(reason(shop.cancel(&order_id, "emil-3").await), "ORDER_REFUSED");
    assert_eq!(shop.state(&order).await, OrderState::Confirmed);
    shop.0.balance_becomes("emil", 100_000 - 800).await;
}

/// Repeats a request until its outcome is known.
async fn insist(what: &str, ask: impl AsyncFn() -> Result<String, Status>) -> Result<String, Status> {
    let began = std::time::Instant::now();
    loop {
        match ask().await {
            Err(status) if [Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&status.code()) => {
                assert!(began.elapsed() < RESOLVED_WITHIN, "never known: {what}: {status}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_in_the_middle_of_it_a_change_is_done_everywhere_or_nowhere() {
    let system = System::set_up().coordinators(2).start().await;
    let (mut done, mut not) = (0, 0);
    let points = [
        (Service::Coordinator, "stage.after"),
        (Service::Coordinator, "decide.before_answer"),
        (Service::Coordinator, "commit.before_send"),
        (Service::Inventory, "batch.before_commit"),
        (Service::Inventory, "prepare.before_reply"),
        (Service::Order, "batch.after_commit"),
        (Service::Order, "commit.received"),
        (Service::Payment, "prepare.before_reply"),
        (Service::Payment, "batch.before_commit"),
    ];
    for (round, (service, point)) in points.into_iter().enumerate() {
        let name = format!("kill-{round}");
        let (shop, order) = Shop::with_order(&system.client(), &name).await;
        shop.0.settled(RESOLVED_WITHIN).await;
        let returns = round % 2 == 1;
        if returns {
            shop.ship(&order, &format!("{name}-ship")).await.unwrap();
            shop.0.settled(RESOLVED_WITHIN).await;
        }
        let server = system.server(service);
        server.stop().await;
        server.start_with(&[("ASSENT_CRASH_POINT", point)]);
        server.healthy().await;
        let rose = format!("{name}-rose");
        let ask = async || {
            let request_id = format!("{name}-change");
            match returns {
                true => {
                    let lines = [(rose.as_str(), 2, ReturnCondition::Sellable)];
                    shop.bring_back(&order, &request_id, &lines).await.map(|(_, transaction_id)| transaction_id)
                }
                false => shop.cancel(&order, &request_id).await,
            }
        };
        let (first, halted) = tokio::join!(ask(), server.halts_at(point, RESOLVED_WITHIN));
        assert!(halted, "{point} was not passed: {first:?}");
        server.start_healthy().await;
        let answer = insist(point, ask).await;
        shop.0.settled(RESOLVED_WITHIN).await;
        let (stock, paid, state) = match (&answer, returns) {
            (Ok(_), false) => (10, 0, OrderState::Cancelled),
            (Ok(_), true) => (9, 600, OrderState::PartiallyReturned),
            (Err(status), _) => {
                assert_eq!(status.code(), Code::Aborted, "{point}: {status}");
                (7, 800, if returns { OrderState::Shipped } else { OrderState::Confirmed })
            }
        };
        println!("{service:?} died at {point}: {}", if answer.is_ok() { "done" } else { "not done" });
        if answer.is_ok() {
            done += 1
        } else {
            not += 1
        }
        assert_eq!(shop.state(&order).await, state, "{point}");
        shop.0.stock_becomes(&rose, stock).await;
        shop.0.balance_becomes(&name, 100_000 - paid).await;
        let events = shop.events(&order).await.len();
        assert_eq!(events, 2 + usize::from(returns) + usize::from(answer.is_ok()), "{point}");
    }
    println!("{done} done, {not} not done");
    assert!(done > 0 && not > 0);
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_placed_as_a_saga_lives_the_same_life() {
    let system = System::start().await;
    let (shop, order) = Shop::with_order(&system.client().in_saga_mode(), "saga").await;
    shop.ship(&order, "saga-ship").await.unwrap();
    shop.bring_back(&order, "saga-back", &[("saga-rose", 3, ReturnCondition::Sellable)]).await.unwrap();
    shop.0.stock_becomes("saga-rose", 10).await;
    shop.0.balance_becomes("saga", 100_000 - 500).await;
    until("the saga has ended", RESOLVED_WITHIN, async || {
        shop.0.transaction(&order).await.unwrap().saga.is_some_and(|saga| saga.end_time.is_some())
    })
    .await;
    doctor::all_holds(&system).await;
}
