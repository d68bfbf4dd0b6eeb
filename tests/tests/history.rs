//! The checker that holds clients' answers against the databases sees what it is there for: each lie is planted, in what a
//! client was told or in a database, found, and taken back.
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use tests::Service::{Coordinator, Inventory, Order, Payment};
use tests::{Aftermath, Answer, Books, Load, Request, Service, System, until};

/// What is done to a database, and how it is taken back. ID is a confirmed order, NOT one that was refused.
const IN_DATABASES: &[(Service, &str, &str)] = &[
    (
        Order,
        "CREATE TABLE kept AS SELECT * FROM orders WHERE order_id = 'ID'; DELETE FROM orders WHERE order_id = 'ID'",
        "INSERT INTO orders SELECT * FROM kept; DROP TABLE kept",
    ),
    // A second order for the same request.
    (
        Order,
        "INSERT INTO orders SELECT gen_random_uuid(), account, request_id, currency, 7777, lines, '', '', now(), false
         FROM orders WHERE order_id = 'ID'",
        "DELETE FROM orders WHERE total_minor = 7777",
    ),
    // One that was refused is there after all.
    (
        Order,
        "INSERT INTO orders SELECT 'NOT', account, 'nobody', currency, total_minor, lines, '', '', now(), false
         FROM orders WHERE order_id = 'ID' ON CONFLICT (order_id) DO UPDATE SET refused = false",
        "UPDATE orders SET refused = true WHERE order_id = 'NOT'",
    ),
    (
        Order,
        "UPDATE orders SET account = 'account-x' || account WHERE order_id = 'ID'",
        "UPDATE orders SET account = substr(account, 10) WHERE order_id = 'ID'",
    ),
    (
        Order,
        "UPDATE orders SET lines = lines || lines WHERE order_id = 'ID'",
        "UPDATE orders SET lines = jsonb_build_array(lines -> 0) WHERE order_id = 'ID'",
    ),
    // Charged twice, for nothing, and not at all.
    (
        Payment,
        "UPDATE booking SET amount_minor = amount_minor * 2 WHERE booking_id = 'ID'",
        "UPDATE booking SET amount_minor = amount_minor / 2 WHERE booking_id = 'ID'",
    ),
    (
        Payment,
        "INSERT INTO booking SELECT 'NOT', debit_account, credit_account, 1, kind, now() FROM booking WHERE booking_id = 'ID'",
        "DELETE FROM booking WHERE booking_id = 'NOT'",
    ),
    (
        Payment,
        "CREATE TABLE kept AS SELECT * FROM booking WHERE booking_id = 'ID'; DELETE FROM booking WHERE booking_id = 'ID'",
        "INSERT INTO booking SELECT * FROM kept; DROP TABLE kept",
    ),
    (
        Payment,
        "UPDATE account SET balance_minor = balance_minor - 1 WHERE account = 'account-1'",
        "UPDATE account SET balance_minor = balance_minor + 1 WHERE account = 'account-1'",
    ),
    (
        Payment,
        "UPDATE account SET held_minor = 1 WHERE account = 'account-1'",
        "UPDATE account SET held_minor = 0 WHERE account = 'account-1'",
    ),
    (
        Inventory,
        "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'sku-1'",
        "UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'sku-1'",
    ),
    (Inventory, "UPDATE stock SET held = 1 WHERE sku = 'sku-1'", "UPDATE stock SET held = 0 WHERE sku = 'sku-1'"),
    // The ledger forgets what it has sold, sells it once more, and sells it for somebody else.
    (
        Inventory,
        "ALTER TABLE movement DISABLE TRIGGER movements_stay;
         CREATE TABLE kept AS SELECT * FROM movement WHERE transaction_id = 'ID' AND kind = 3;
         DELETE FROM movement WHERE transaction_id = 'ID' AND kind = 3",
        "INSERT INTO movement SELECT * FROM kept; DROP TABLE kept; ALTER TABLE movement ENABLE TRIGGER movements_stay",
    ),
    (
        Inventory,
        "INSERT INTO movement SELECT sku, -1, quantity, on_hand, held, create_time, transaction_id, kind
         FROM movement WHERE transaction_id = 'ID' AND kind = 3",
        "ALTER TABLE movement DISABLE TRIGGER movements_stay; DELETE FROM movement WHERE sequence = -1;
         ALTER TABLE movement ENABLE TRIGGER movements_stay",
    ),
    (
        Inventory,
        "ALTER TABLE movement DISABLE TRIGGER movements_stay;
         UPDATE movement SET transaction_id = 'NOT' WHERE transaction_id = 'ID' AND kind = 3",
        "UPDATE movement SET transaction_id = 'ID' WHERE transaction_id = 'NOT' AND kind = 3;
         ALTER TABLE movement ENABLE TRIGGER movements_stay",
    ),
    (
        Inventory,
        "UPDATE branch_log SET state = 3, decide_time = now() WHERE transaction_id = 'ID'",
        "UPDATE branch_log SET state = 2 WHERE transaction_id = 'ID'",
    ),
    (
        Inventory,
        "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, decide_time) VALUES ('NOT', 1, 2, now())
         ON CONFLICT (transaction_id) DO UPDATE SET state = 2",
        "UPDATE branch_log SET state = 3 WHERE transaction_id = 'NOT'",
    ),
    (
        Coordinator,
        "UPDATE record SET state = 3, first_decision = 2, client_answer = 1 WHERE transaction_id = 'ID'",
        "UPDATE record SET state = 2 WHERE transaction_id = 'ID'",
    ),
    (
        Coordinator,
        "UPDATE record SET state = 2 WHERE transaction_id = 'NOT'",
        "UPDATE record SET state = 3 WHERE transaction_id = 'NOT'",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_lie_is_found() {
    let system = System::start().await;
    let client = system.client();
    let mut books = Books::open(&client).await;
    let load = Load::start(std::slice::from_ref(&client), 4, "history");
    until("orders are answered", Duration::from_secs(30), async || load.answered() >= 60).await;
    let requests = load.stop().await;
    let placed = one(&requests, |request| told_once(request).confirmed().is_some() && request.basket.lines.len() == 1);
    let refused = one(&requests, |request| matches!(told_once(request), Answer::Refused { .. }));
    let after = Aftermath::see(&system, &client, &mut books, requests.clone(), Instant::now()).await;
    after.is_sound("nothing planted");

    for (service, plant, undo) in IN_DATABASES {
        let named = |sql: &str| {
            let id = |request: &Request| told_once(request).order_id().unwrap_or_default().to_owned();
            sql.replace("'ID'", &format!("'{}'", id(&placed))).replace("'NOT'", &format!("'{}'", id(&refused)))
        };
        let pool = system.pool(*service);
        let planted = sqlx::raw_sql(AssertSqlSafe(named(plant))).execute(&pool).await.unwrap();
        assert!(planted.rows_affected() > 0, "planted nothing: {plant}");
        let wrong = books.check(&system, &client, Vec::new()).await;
        println!("{plant}\n    {wrong:?}");
        assert!(!wrong.is_empty(), "not seen: {plant}");
        sqlx::raw_sql(AssertSqlSafe(named(undo))).execute(&pool).await.unwrap();
        let wrong = books.check(&system, &client, Vec::new()).await;
        assert!(wrong.is_empty(), "{undo} did not take it back: {wrong:#?}");
    }

    for (lie, told) in lies(&placed, &refused) {
        let others = requests.iter().filter(|request| request.request_id != told.request_id);
        let mut books = Books::of(others.cloned().collect());
        let wrong = books.check(&system, &client, vec![told]).await;
        println!("{lie}\n    {wrong:?}");
        assert!(!wrong.is_empty(), "not seen: {lie}");
    }
}

/// What a client might have been told, and was not.
fn lies(placed: &Request, refused: &Request) -> Vec<(&'static str, Request)> {
    let told = |request: &Request, answers: Vec<Answer>| Request {
        answers: answers.into_iter().map(|answer| (answer, Duration::ZERO)).collect(),
        ..request.clone()
    };
    let (confirmed, refusal) = (told_once(placed).clone(), told_once(refused).clone());
    let order_id = confirmed.order_id().unwrap_or_default().to_owned();
    let lost = Answer::Confirmed { order_id: uuid::Uuid::now_v7().to_string() };
    let elsewhere = Request { request_id: "other".to_owned(), ..told(placed, vec![confirmed.clone()]) };
    let larger = Request { basket: placed.basket.clone().line("sku-3", 1, 1), ..told(placed, vec![confirmed.clone()]) };
    vec![
        ("placed, and nothing is there", Request { request_id: "lost".to_owned(), ..told(placed, vec![lost.clone()]) }),
        ("placed a second time", told(placed, vec![confirmed.clone(), lost])),
        (
            "refused, and it is there",
            told(placed, vec![Answer::Refused { reason: "OUT_OF_STOCK".to_owned(), order_id: order_id.clone() }]),
        ),
        ("given up, and it is there", told(placed, vec![Answer::Aborted { cause: "TIMEOUT".to_owned(), order_id }])),
        ("placed and refused", told(refused, vec![confirmed, refusal])),
        ("placed for somebody else", elsewhere),
        ("placed with another line", larger),
        (
            "refused with what is no answer",
            told(
                refused,
                vec![Answer::Other { code: tonic::Code::Internal, reason: "PANIC".to_owned(), message: String::new() }],
            ),
        ),
    ]
}

fn told_once(request: &Request) -> &Answer {
    &request.answers[0].0
}

/// A request of which this is so, and that was made once.
fn one(requests: &[Request], so: impl Fn(&Request) -> bool) -> Request {
    requests.iter().find(|request| request.answers.len() == 1 && so(request)).expect("one").clone()
}
