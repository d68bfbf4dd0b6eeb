//! Orders that wait for their goods, end to end: authorised when they are placed, captured as the goods come, whatever dies.
use std::time::Duration;

use proto::assent::inventory::v1::backorder_service_client::BackorderServiceClient;
use proto::assent::inventory::v1::{SetSupplyPolicyRequest, SupplyKind, SupplyPolicy};
use proto::assent::order::v1::{AllowBackorder, CancelOrderRequest, OrderState, PlaceOrderRequest};
use proto::assent::payment::v1::GetAccountRequest;
use tests::{Basket, Client, Service, System, doctor, error_info, gbp, shared, timed, until};
use tonic::Status;
use tonic::transport::Endpoint;

/// As soon as everything is up again, the longest pause of the courier included.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// A SKU that may be owed.
async fn may_be_owed(system: &System, sku: &str, max_owed: i64) {
    let address = system.server(Service::Inventory).address();
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let policy = Some(SupplyPolicy { kind: SupplyKind::Backorder.into(), max_owed, ..Default::default() });
    let request = SetSupplyPolicyRequest { sku: sku.to_owned(), policy };
    BackorderServiceClient::new(channel).set_supply_policy(timed(request)).await.unwrap();
}

/// Places an order that may wait; its id, if it was placed.
async fn place(client: &Client, name: &str, basket: &Basket, allowed: AllowBackorder) -> Result<String, Status> {
    let request = PlaceOrderRequest { allow_backorder: allowed.into(), ..basket.request(name) };
    let order = client.orders.clone().place_order(timed(request)).await?.into_inner().order.unwrap();
    assert_eq!(order.state(), OrderState::Backordered);
    Ok(order.order_id)
}

async fn becomes(client: &Client, order_id: &str, state: OrderState, units: i64) {
    until(&format!("{order_id} is {state:?} with {units} units"), SETTLED_WITHIN, async || {
        client.order(order_id).await.is_ok_and(|order| (order.state(), order.allotted_units) == (state, units))
    })
    .await;
}

/// Waits until so many pence are in an account, and so many of them held.
async fn account_becomes(client: &Client, account: &str, balance: i64, held: i64) {
    until(&format!("{balance} in {account}, {held} held"), SETTLED_WITHIN, async || {
        let request = timed(GetAccountRequest { account: account.to_owned() });
        let Ok(read) = client.accounts.clone().get_account(request).await else { return false };
        let account = read.into_inner().account.unwrap();
        (account.balance, account.held) == (Some(gbp(balance)), Some(gbp(held)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_captured_as_its_goods_come() {
    let system = shared().await;
    let client = system.client();
    client.open_account("bo-ann", 100_000).await;
    client.set_stock("bo-mug", 2).await;
    let basket = Basket::of("bo-ann").line("bo-mug", 3, 100).line("bo-mug", 2, 50);
    let refused = place(&client, "bo-0", &basket, AllowBackorder::Partial).await.unwrap_err();
    assert_eq!(error_info(&refused).0, "OUT_OF_STOCK", "no policy lets it");
    may_be_owed(&system, "bo-mug", 10).await;
    let order_id = place(&client, "bo-1", &basket, AllowBackorder::Partial).await.unwrap();
    assert_eq!(place(&client, "bo-1", &basket, AllowBackorder::Partial).await.unwrap(), order_id, "a repeat");
    becomes(&client, &order_id, OrderState::PartiallyAllocated, 2).await;
    account_becomes(&client, "bo-ann", 99_800, 200).await;
    client.adjust_stock("bo-mug", 2, "bo-delivery-1").await.unwrap();
    becomes(&client, &order_id, OrderState::PartiallyAllocated, 4).await;
    account_becomes(&client, "bo-ann", 99_650, 50).await;
    client.adjust_stock("bo-mug", 3, "bo-delivery-2").await.unwrap();
    becomes(&client, &order_id, OrderState::Confirmed, 5).await;
    account_becomes(&client, "bo-ann", 99_600, 0).await;
    client.stock_becomes("bo-mug", 2).await;
    // All of it is there: confirmed a moment later.
    let at_once = place(&client, "bo-2", &Basket::of("bo-ann").line("bo-mug", 2, 100), AllowBackorder::Whole).await;
    becomes(&client, &at_once.unwrap(), OrderState::Confirmed, 2).await;
    account_becomes(&client, "bo-ann", 99_400, 0).await;
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_order_frees_its_place_and_its_money() {
    let system = shared().await;
    let client = system.client();
    client.open_account("bo-bob", 100_000).await;
    client.set_stock("bo-pot", 1).await;
    may_be_owed(&system, "bo-pot", 10).await;
    let basket = Basket::of("bo-bob").line("bo-pot", 3, 100);
    let first = place(&client, "bo-pot-1", &basket, AllowBackorder::Whole).await.unwrap();
    let second = place(&client, "bo-pot-2", &basket, AllowBackorder::Partial).await.unwrap();
    account_becomes(&client, "bo-bob", 100_000, 600).await;
    let cancel = |order_id: &str, request_id: &str| CancelOrderRequest {
        order_id: order_id.to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    client.orders.clone().cancel_order(timed(cancel(&first, "bo-cancel"))).await.unwrap();
    becomes(&client, &first, OrderState::Cancelled, 0).await;
    // The one that was kept for it is the next one's, and captured.
    becomes(&client, &second, OrderState::PartiallyAllocated, 1).await;
    account_becomes(&client, "bo-bob", 99_900, 200).await;
    let denied = client.orders.clone().cancel_order(timed(cancel(&second, "bo-cancel-2"))).await.unwrap_err();
    assert_eq!(error_info(&denied).0, "PARTIALLY_ALLOCATED");
    client.adjust_stock("bo-pot", 2, "bo-pot-delivery").await.unwrap();
    becomes(&client, &second, OrderState::Confirmed, 3).await;
    account_becomes(&client, "bo-bob", 99_700, 0).await;
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goods_are_given_and_captured_once_whatever_is_killed() {
    let system = System::start().await;
    let client = system.client();
    client.open_account("ann", 100_000).await;
    client.set_stock("mug", 0).await;
    may_be_owed(&system, "mug", 100).await;
    let mut orders = Vec::new();
    for number in 0..6 {
        let basket = Basket::of("ann").line("mug", 2, 100);
        orders.push(place(&client, &format!("order-{number}"), &basket, AllowBackorder::Partial).await.unwrap());
    }
    account_becomes(&client, "ann", 100_000, 1_200).await;
    let points: [(Service, &str); 6] = [
        (Service::Inventory, "batch.before_commit"),
        (Service::Payment, "prepare.before_reply"),
        (Service::Order, "commit.received"),
        (Service::Coordinator, "stage.after"),
        (Service::Coordinator, "place.received"),
        (Service::Payment, "batch.after_commit"),
    ];
    for (number, (service, point)) in points.into_iter().enumerate() {
        let server = system.server(service);
        server.kill();
        server.start_with(&[("ASSENT_CRASH_POINT", point)]);
        // Goods come while it is about to die of them, or of what follows.
        let delivery = format!("delivery-{number}");
        until("the goods are there", SETTLED_WITHIN, async || {
            if server.ended() {
                server.start_healthy().await;
            }
            client.adjust_stock("mug", 2, &delivery).await.is_ok()
        })
        .await;
        // Whether it was this that killed it or not, it comes back.
        let _ = server.halts_at(point, Duration::from_secs(2)).await;
        server.kill();
        until("it is dead", SETTLED_WITHIN, async || server.ended()).await;
        server.start_healthy().await;
    }
    for order_id in &orders {
        becomes(&client, order_id, OrderState::Confirmed, 2).await;
    }
    account_becomes(&client, "ann", 98_800, 0).await;
    client.stock_becomes("mug", 0).await;
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_authorised_too_long_ago_is_authorised_anew() {
    let system = System::set_up().set(Service::Payment, "ASSENT_AUTHORISATION_VALIDITY_MS", 1_000).start().await;
    let client = system.client();
    client.open_account("ann", 1_000).await;
    client.set_stock("mug", 0).await;
    may_be_owed(&system, "mug", 100).await;
    let basket = Basket::of("ann").line("mug", 2, 100);
    let order_id = place(&client, "order", &basket, AllowBackorder::Whole).await.unwrap();
    account_becomes(&client, "ann", 1_000, 200).await;
    // Its time is over when the money is free again.
    account_becomes(&client, "ann", 1_000, 0).await;
    client.adjust_stock("mug", 2, "delivery").await.unwrap();
    becomes(&client, &order_id, OrderState::Confirmed, 2).await;
    account_becomes(&client, "ann", 800, 0).await;
    doctor::all_holds(&system).await;
}
