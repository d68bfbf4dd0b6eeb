//! Orders end to end, as a shop places and reads them.
use std::collections::BTreeSet;

use futures::future::join_all;
use proto::assent::order::v1::{ListOrdersRequest, Order, OrderState, PlaceOrderRequest};
use tests::{Answer, Basket, Client, Service, doctor, shared};

/// A client of the shared system, with an account of the test's own.
async fn shop(client: &Client, account: &str) -> Client {
    client.open_account(account, 1_000_000).await;
    client.clone()
}

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Refused { reason, .. } | Answer::Other { reason, .. } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn order_id(answer: &Answer) -> &str {
    answer.confirmed().unwrap_or_else(|| panic!("not confirmed: {answer:?}"))
}

#[tokio::test]
async fn a_placed_order_is_sold_paid_and_read_as_it_was_placed() {
    let system = shared().await;
    let client = shop(&system.client(), "anna").await;
    client.set_stock("lamp", 10).await;
    client.set_stock("bulb", 10).await;
    let basket = Basket::of("anna").line("lamp", 2, 1_999).line("bulb", 4, 125).line("lamp", 1, 1_999);
    let answer = client.place("anna-1", &basket).await;
    let order = client.order(order_id(&answer)).await.unwrap();
    assert_eq!(
        (order.state(), order.account.as_str(), order.request_id.as_str()),
        (OrderState::Confirmed, "anna", "anna-1")
    );
    assert_eq!(order.lines, basket.request("").lines);
    assert_eq!(order.total.unwrap().to_minor(), Ok(basket.total_minor()));
    client.stock_becomes("lamp", 7).await;
    client.stock_becomes("bulb", 6).await;
    client.balance_becomes("anna", 1_000_000 - basket.total_minor()).await;
    let transaction = client.transaction(&order.order_id).await.unwrap();
    let participants: Vec<&str> = transaction.participants.iter().map(|view| view.participant.as_str()).collect();
    assert_eq!(participants, ["inventory", "order", "payment"]);
}

#[tokio::test]
async fn an_order_is_refused_whole_when_one_line_is_short() {
    let system = shared().await;
    let client = shop(&system.client(), "ben").await;
    client.set_stock("cup", 5).await;
    client.set_stock("saucer", 1).await;
    let answer = client.place("ben-1", &Basket::of("ben").line("cup", 2, 300).line("saucer", 2, 200)).await;
    assert_eq!(reason(&answer), "OUT_OF_STOCK");
    // Two lines of one SKU are one wish: 3 and 3 of 5 are too many, though each alone could be had.
    let answer = client.place("ben-2", &Basket::of("ben").line("cup", 3, 300).line("cup", 3, 300)).await;
    assert_eq!(reason(&answer), "OUT_OF_STOCK");
    let answer = client.place("ben-3", &Basket::of("ben").line("cup", 1, 300).line("no-such-thing", 1, 1)).await;
    assert_eq!(reason(&answer), "UNKNOWN_SKU");
    let answer = client.place("ben-4", &Basket::of("ben").line("cup", 5, 300_000)).await;
    assert_eq!(reason(&answer), "INSUFFICIENT_FUNDS");
    let Answer::Refused { order_id: refused, .. } = &answer else { panic!("{answer:?}") };
    let order = client.order(refused).await.unwrap();
    assert_eq!((order.state(), order.reason.as_str()), (OrderState::Refused, "INSUFFICIENT_FUNDS"));
    // The answer does not wait for what it gives back.
    client.stock_becomes("cup", 5).await;
    let answer = client.place("ben-5", &Basket::of("nobody").line("cup", 1, 300)).await;
    assert_eq!(reason(&answer), "UNKNOWN_ACCOUNT");
    client.stock_becomes("cup", 5).await;
    client.stock_becomes("saucer", 1).await;
    client.balance_becomes("ben", 1_000_000).await;
    // What was held for them is free again: all of it can be sold.
    let answer = client.place("ben-6", &Basket::of("ben").line("cup", 2, 300).line("cup", 3, 300)).await;
    order_id(&answer);
}

#[tokio::test]
async fn who_reads_an_order_right_after_the_answer_sees_it_confirmed() {
    let system = shared().await;
    let client = shop(&system.client(), "carl").await;
    let elsewhere = system.client_of(1);
    client.set_stock("pen", 1_000).await;
    for turn in 0..150 {
        let answer = client.place(&format!("carl-{turn}"), &Basket::of("carl").line("pen", 1, 10)).await;
        let placed = order_id(&answer);
        // Through the coordinator that placed it, and through one that did not.
        let reader = if turn % 2 == 0 { &client } else { &elsewhere };
        assert_eq!(reader.order(placed).await.unwrap().state(), OrderState::Confirmed, "turn {turn}");
        let confirmed = ListOrdersRequest {
            state: OrderState::Confirmed.into(),
            account: "carl".to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let newest = client.list(confirmed).await.unwrap().orders;
        assert_eq!(newest.first().map(|order| order.order_id.as_str()), Some(placed), "turn {turn}");
    }
}

async fn all_pages(client: &Client, request: ListOrdersRequest) -> Vec<Order> {
    let (mut orders, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = client.list(ListOrdersRequest { page_token, ..request.clone() }).await.unwrap();
        assert!(page.orders.len() <= usize::try_from(request.page_size).unwrap());
        orders.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return orders;
        }
    }
}

#[tokio::test]
async fn orders_are_listed_by_state_and_account_page_by_page_newest_first() {
    let system = shared().await;
    let client = shop(&system.client(), "dora").await;
    shop(&client, "dave").await;
    client.set_stock("mug", 1_000).await;
    let mut placed = Vec::new();
    for turn in 0..23 {
        let account = if turn % 3 == 0 { "dave" } else { "dora" };
        let quantity = if turn % 5 == 4 { 2_000 } else { 1 };
        let answer = client.place(&format!("d-{turn}"), &Basket::of(account).line("mug", quantity, 1)).await;
        placed.push((account, answer));
    }
    let expected = |account: &str| -> Vec<String> {
        let of_account = placed.iter().rev().filter(|(of, _)| *of == account);
        of_account.filter_map(|(_, answer)| answer.confirmed().map(str::to_owned)).collect()
    };
    for account in ["dora", "dave"] {
        for page_size in [1, 4, 100] {
            let state = OrderState::Confirmed.into();
            let request = ListOrdersRequest { page_size, state, account: account.to_owned(), ..Default::default() };
            let orders = all_pages(&client, request).await;
            assert!(orders.iter().all(|order| order.state() == OrderState::Confirmed && order.account == account));
            let ids: Vec<String> = orders.into_iter().map(|order| order.order_id).collect();
            assert_eq!(ids, expected(account), "{account} by {page_size}");
        }
    }
    let state = OrderState::Refused.into();
    let refused = ListOrdersRequest { page_size: 3, state, account: "dora".to_owned(), ..Default::default() };
    let refused = all_pages(&client, refused.clone()).await;
    assert!(refused.iter().all(|order| order.reason == "OUT_OF_STOCK"), "{refused:?}");
    // A token belongs to its list.
    let first = ListOrdersRequest { page_size: 1, account: "dora".to_owned(), ..Default::default() };
    let page_token = client.list(first.clone()).await.unwrap().next_page_token;
    let other = ListOrdersRequest { page_token, account: "dave".to_owned(), ..first };
    let status = client.list(other).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_request_repeated_is_the_same_order_and_with_other_content_an_error() {
    let system = shared().await;
    let client = shop(&system.client(), "emma").await;
    client.set_stock("book", 3).await;
    let basket = Basket::of("emma").line("book", 1, 700);
    let first = client.place("emma-1", &basket).await;
    for repeat in [&client, &system.client_of(1), &client] {
        assert_eq!(repeat.place("emma-1", &basket).await, first);
    }
    let other = client.place("emma-1", &Basket::of("emma").line("book", 2, 700)).await;
    let Answer::Other { code, reason: why, .. } = &other else { panic!("{other:?}") };
    assert_eq!((*code, why.as_str()), (tonic::Code::AlreadyExists, "REQUEST_ID_REUSED"));
    let refused = client.place("emma-2", &Basket::of("emma").line("book", 3, 700)).await;
    assert_eq!(reason(&refused), "OUT_OF_STOCK");
    // A refusal is an outcome as well: it is repeated, though the book can be had by now.
    client.adjust_stock("book", 10, "emma-restock").await.unwrap();
    let again = client.place("emma-2", &Basket::of("emma").line("book", 3, 700)).await;
    assert_eq!(again, refused);
    client.stock_becomes("book", 12).await;
    client.balance_becomes("emma", 999_300).await;
}

#[tokio::test]
async fn duplicates_at_the_same_time_through_two_coordinators_are_one_order() {
    let system = shared().await;
    let clients = [shop(&system.client(), "finn").await, system.client_of(1)];
    clients[0].set_stock("kite", 1_000).await;
    for round in 0..10 {
        let (request_id, basket) = (format!("finn-{round}"), Basket::of("finn").line("kite", 1, 5));
        let answers = join_all((0..6).map(|place| clients[place % 2].place(&request_id, &basket))).await;
        let ids: BTreeSet<&str> = answers.iter().map(order_id).collect();
        assert_eq!(ids.len(), 1, "{answers:?}");
    }
    clients[0].stock_becomes("kite", 990).await;
    clients[0].balance_becomes("finn", 1_000_000 - 50).await;
}

#[tokio::test]
async fn large_orders_are_placed_up_to_the_limit() {
    let system = shared().await;
    let client = shop(&system.client(), "gus").await;
    let skus: Vec<String> = (0..2_001).map(|number| format!("part-{number}")).collect();
    // No more at once than the inventory has connections for, many times over.
    for some in skus.chunks(100) {
        join_all(some.iter().map(|sku| client.set_stock(sku, 3))).await;
    }
    let basket = |lines: usize| {
        let lines = skus.iter().cycle().take(lines);
        Basket { account: "gus".to_owned(), lines: lines.map(|sku| (sku.clone(), 1, 1)).collect() }
    };
    for lines in [592, 2_000] {
        let answer = client.place(&format!("gus-{lines}"), &basket(lines)).await;
        let order = client.order(order_id(&answer)).await.unwrap();
        assert_eq!(order.lines.len(), lines);
    }
    for lines in [2_001, 10_000] {
        let answer = client.place(&format!("gus-{lines}"), &basket(lines)).await;
        let Answer::Other { code, reason, .. } = &answer else { panic!("{answer:?}") };
        assert_eq!((*code, reason.as_str()), (tonic::Code::InvalidArgument, "INVALID_ARGUMENT"));
    }
    client.stock_becomes("part-591", 1).await;
    client.stock_becomes("part-1999", 2).await;
    client.stock_becomes("part-2000", 3).await;
    // Pages of large orders stay within what clients take.
    let page = ListOrdersRequest { page_size: 100, account: "gus".to_owned(), ..Default::default() };
    assert_eq!(client.list(page).await.unwrap().orders.len(), 2);
}

#[tokio::test]
async fn a_hundred_buyers_of_fifty_units_buy_exactly_fifty() {
    let system = shared().await;
    let clients = [shop(&system.client(), "hugo").await, system.client_of(1)];
    clients[0].set_stock("ticket", 50).await;
    let buy = |buyer: usize| {
        let client = &clients[buyer % 2];
        async move { client.place(&format!("hugo-{buyer}"), &Basket::of("hugo").line("ticket", 1, 100)).await }
    };
    let answers = join_all((0..100).map(buy)).await;
    let confirmed = answers.iter().filter(|answer| answer.confirmed().is_some()).count();
    let refused =
        answers.iter().filter(|answer| matches!(answer, Answer::Refused { reason, .. } if reason == "OUT_OF_STOCK"));
    assert_eq!((confirmed, refused.count()), (50, 50), "{answers:?}");
    clients[0].stock_becomes("ticket", 0).await;
    clients[0].balance_becomes("hugo", 1_000_000 - 50 * 100).await;
    let state: i64 = sqlx::query_scalar("SELECT count(*) FROM order_with_state WHERE account = 'hugo' AND state = 2")
        .fetch_one(&system.pool(Service::Order))
        .await
        .unwrap();
    assert_eq!(state, 50);
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn an_order_without_a_request_id_is_placed_each_time() {
    let system = shared().await;
    let client = shop(&system.client(), "iris").await;
    client.set_stock("rose", 10).await;
    let request =
        PlaceOrderRequest { request_id: String::new(), ..Basket::of("iris").line("rose", 1, 100).request("") };
    let (one, two) = (client.place_request(request.clone()).await, client.place_request(request).await);
    assert_ne!(order_id(&one), order_id(&two));
    assert!(!client.order(order_id(&one)).await.unwrap().request_id.is_empty());
}
