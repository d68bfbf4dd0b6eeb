//! What the coordinator lets through, every participant takes, and all four mean the same.
#![no_main]
use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use coordinator::{Order, branches, read_lines};
use fuzz::orders;
use inventory_svc::Inventory;
use order_svc::{Branch, Orders, lines};
use participant::Resource;
use payment_svc::Payments;
use prost::Message;
use proto::assent::order::v1::PlaceOrderRequest;
use proto::limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Data that is used up gives less than was asked for, which is an order too.
    let _ = orders(data);
});

fn orders(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let (one, other) = (orders::request(&mut input)?, orders::request(&mut input)?);
    let (one, other) = (let_through(one), let_through(other));
    if let (Some(one), Some(other)) = (one, other) {
        assert_eq!(one == other, one.digest() == other.digest(), "digests tell orders apart");
    }
    Ok(())
}

fn let_through(request: PlaceOrderRequest) -> Option<Order> {
    let order = Order::new(request.account, read_lines(request.lines).ok()?).ok()?;
    let cost = |line: &coordinator::OrderLine| i128::from(line.quantity) * i128::from(line.unit_price_minor);
    assert_eq!(i128::from(order.total_minor), order.lines.iter().map(cost).sum::<i128>());
    assert!(order.lines.iter().all(|line| line.quantity > 0 && line.unit_price_minor >= 0));
    if limits::check_request_id(&request.request_id).is_ok() {
        every_participant_takes(&order, &request.request_id);
    }
    Some(order)
}

fn every_participant_takes(order: &Order, request_id: &str) {
    let asked = branches::Asked { client_id: "client", request_id };
    let (inventory, stored, payment) = branches::of_order(order, asked);
    let [inventory, stored, payment] = [inventory.encode_to_vec(), stored.encode_to_vec(), payment.encode_to_vec()];

    let holds = Inventory::default().decode(&inventory).expect("the inventory takes it");
    let mut wanted: BTreeMap<&str, i128> = BTreeMap::new();
    for line in &order.lines {
        *wanted.entry(&line.sku).or_default() += i128::from(line.quantity);
    }
    let held: BTreeMap<&str, i128> = holds.iter().map(|(sku, quantity)| (sku, quantity.into())).collect();
    assert_eq!(held, wanted);

    let Ok(Branch::Place(written)) = Orders.decode(&stored) else { panic!("the order service takes it") };
    assert_eq!((written.account.as_str(), written.request_id.as_str()), (order.account.as_str(), request_id));
    assert_eq!((written.currency.as_str(), written.total_minor), (order.currency.as_str(), order.total_minor));
    let read = lines::from_json(&lines::to_json(&written.lines).expect("lines are written")).expect("lines are read");
    assert_eq!(read, written.lines);
    let as_placed = |line: &coordinator::OrderLine| (line.sku.clone(), line.quantity, line.unit_price_minor);
    let as_read = |line: order_svc::Line| (line.sku, line.quantity, line.unit_price_minor);
    assert_eq!(
        read.into_iter().map(as_read).collect::<Vec<_>>(),
        order.lines.iter().map(as_placed).collect::<Vec<_>>()
    );

    let payment = Payments::default().decode(&payment).expect("the payment service takes it");
    let wanted = payment.charge().expect("it is charged");
    assert_eq!((wanted.account.as_str(), wanted.currency.as_str()), (order.account.as_str(), order.currency.as_str()));
    assert_eq!(wanted.amount_minor, order.total_minor);

    // Postgres takes no NUL in a text.
    assert!(!order.lines.iter().any(|line| line.sku.contains('\0')));
}
