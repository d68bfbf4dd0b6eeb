//! Branches of any bytes: what a participant takes is in bounds, and means the same when it is read again, as it is from
//! the log.
#![no_main]
use std::collections::BTreeMap;

use fuzz::amounts;
use inventory_svc::Inventory;
use order_svc::{Branch, Line, Orders, lines};
use participant::{InvalidBranch, Resource};
use payment_svc::{Authorisation, Payments};
use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::order::v1::{OrderBranch, OrderLine};
use proto::assent::payment::v1::PaymentBranch;
use proto::google::r#type::Money;
use proto::limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [participant, bytes @ ..] = data else { return };
    let taken = match participant % 3 {
        0 => inventory(bytes),
        1 => order(bytes),
        _ => payment(bytes),
    };
    if let Err(invalid) = taken {
        assert!(invalid.field.starts_with("branch") && !invalid.description.is_empty(), "{invalid}");
    }
});

fn inventory(bytes: &[u8]) -> Result<(), InvalidBranch> {
    let holds = Inventory::default().decode(bytes)?;
    if let Some(put_back) = &holds.put_back {
        assert!(holds.iter().next().is_none(), "what comes back holds nothing");
        let mut back = put_back.sellable.iter().chain(&put_back.damaged);
        assert!(back.all(|(sku, quantity)| *quantity > 0 && limits::check_sku(sku).is_ok()));
        return Ok(());
    }
    let asked = InventoryBranch::decode(bytes).expect("it was decoded before");
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for line in &asked.lines {
        *sums.entry(&line.sku).or_default() += i128::from(line.quantity);
    }
    let held: Vec<(&str, i128)> = holds.iter().map(|(sku, quantity)| (sku, quantity.into())).collect();
    assert_eq!(held.len(), sums.len(), "each SKU once");
    assert_eq!(held.into_iter().collect::<BTreeMap<_, _>>(), sums);
    assert!(sums.iter().all(|(sku, sum)| *sum > 0 && limits::check_sku(sku).is_ok()));
    // One of a line that sums up many may hold more than a line may.
    if sums.values().all(|sum| *sum <= i128::from(limits::MAX_QUANTITY)) {
        let lines = holds.iter().map(|(sku, quantity)| StockLine { sku: sku.to_owned(), quantity }).collect();
        assert_eq!(
            Inventory::default().decode(
                &InventoryBranch { lines, reservation_ids: asked.reservation_ids.clone(), ..Default::default() }
                    .encode_to_vec()
            ),
            Ok(holds.clone())
        );
    }
    Ok(())
}

fn order(bytes: &[u8]) -> Result<(), InvalidBranch> {
    let Branch::Place(order) = Orders.decode(bytes)? else { return Ok(()) };
    let cost = |line: &Line| i128::from(line.quantity) * i128::from(line.unit_price_minor);
    assert_eq!(i128::from(order.total_minor), order.lines.iter().map(cost).sum::<i128>());
    assert!(order.lines.iter().all(|line| line.quantity > 0 && line.unit_price_minor >= 0));
    let asked = OrderBranch::decode(bytes).expect("it was decoded before");
    assert!(amounts::is(order.total_minor, &asked.total.expect("a total")));
    for (line, asked) in order.lines.iter().zip(asked.lines) {
        assert!(amounts::is(line.unit_price_minor, &asked.unit_price.expect("a price")));
    }
    let written = lines::to_json(&order.lines).expect("lines are written");
    assert!(!order.lines.iter().any(|line| line.sku.contains('\0')), "Postgres takes no NUL in a text");
    assert_eq!(lines::from_json(&written).expect("lines are read"), order.lines);
    let money = |minor| Some(Money::from_minor(&order.currency, minor));
    let again = OrderBranch {
        account: order.account.clone(),
        request_id: order.request_id.clone(),
        lines: order
            .lines
            .iter()
            .map(|line| OrderLine {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: money(line.unit_price_minor),
                ..OrderLine::default()
            })
            .collect(),
        total: money(order.total_minor),
        client_id: order.client_id.clone(),
        change: None,
        waits: order.waits,
    };
    assert_eq!(Orders.decode(&again.encode_to_vec()), Ok(Branch::Place(order)));
    Ok(())
}

fn payment(bytes: &[u8]) -> Result<(), InvalidBranch> {
    let wanted = Payments::default().decode(bytes)?;
    let asked = PaymentBranch::decode(bytes).expect("it was decoded before");
    if let Some(Authorisation { account, currency, amount_minor }) = wanted.authorisation() {
        assert!(*amount_minor >= 0 && limits::check_account(account).is_ok());
        assert!(amounts::is(*amount_minor, asked.amount.as_ref().expect("an amount")));
        let amount = Some(Money::from_minor(currency, *amount_minor));
        let again = PaymentBranch { account: account.clone(), amount, ..asked.clone() };
        assert_eq!(Payments::default().decode(&again.encode_to_vec()), Ok(wanted.clone()));
    }
    assert_eq!(Payments::default().decode(&asked.encode_to_vec()), Ok(wanted));
    Ok(())
}
