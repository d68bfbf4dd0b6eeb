//! Whether the books agree: under load they do, and every planted fault is found and named by its ids.
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::Service::{Inventory, Order, Payment};
use tests::{Basket, Books, Load, Ran, Service, System, assent, until};

async fn reconcile(system: &System, arguments: &[&str]) -> (Value, i32, String) {
    let Ran { exit, stdout, said } = assent(system, &[&["reconcile"], arguments].concat()).await;
    (serde_json::from_str(&stdout).unwrap_or(Value::Null), exit, said)
}

/// Changes a database past all that guards it.
async fn tamper(system: &System, service: Service, statements: &str) {
    let statements = format!("SET session_replication_role = replica; {statements}; RESET session_replication_role");
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&system.pool(service)).await.unwrap();
    assert!(done.rows_affected() > 0);
}

async fn agrees(system: &System) {
    let (report, exit, said) = reconcile(system, &["--settle-ms", "300"]).await;
    assert_eq!(exit, 0, "{said}\n{report}");
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ledger", "holds", "sold", "captured", "money"]);
    assert!(checks.iter().all(|check| check["status"] == "agrees"), "{report}");
}

/// What is found, as `CHECK SUBJECT TRANSACTION`, with the details.
async fn found(system: &System) -> (Vec<String>, String) {
    let (report, exit, said) = reconcile(system, &["--settle-ms", "50"]).await;
    assert_eq!(exit, 1, "{said}");
    let mut found = Vec::new();
    for check in report["checks"].as_array().unwrap() {
        for one in check["differences"].as_array().unwrap() {
            let text = |field: &str| one[field].as_str().unwrap_or("-").to_owned();
            found.push(format!("{} {} {}", check["name"].as_str().unwrap(), text("subject"), text("transaction_id")));
        }
    }
    (found, report.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_agree_under_load_whether_orders_are_atomic_or_sagas() {
    let system = System::start().await;
    let client = system.client();
    let _books = Books::open(&client).await;
    let load = Load::start(&[client.clone(), client.in_saga_mode()], 6, "reconcile");
    for count in [50, 100, 150] {
        until("orders are answered", Duration::from_secs(60), async || load.answered() >= count).await;
        agrees(&system).await;
    }
    system.server(Inventory).kill();
    system.server(Inventory).start_healthy().await;
    let before = load.confirmed();
    until("orders are confirmed", Duration::from_secs(60), async || load.confirmed() > before).await;
    agrees(&system).await;
    load.stop().await;
    client.settled(Duration::from_secs(10)).await;
    agrees(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_fault_is_found_and_named() {
    let system = System::start().await;
    let client = system.client();
    client.open_account("rich", 100_000).await;
    client.set_stock("mug", 100).await;
    client.set_stock("cup", 100).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let placed = client.place(name, &Basket::of("rich").line("mug", 2, 100).line("cup", 1, 50)).await;
        ids.push(placed.confirmed().expect("confirmed").to_owned());
    }
    client.place("refused", &Basket::of("rich").line("mug", 1_000, 1)).await;
    client.settled(Duration::from_secs(5)).await;
    agrees(&system).await;
    let id = ids[1].as_str();

    // The stock is not what its movements come to.
    tamper(&system, Inventory, "UPDATE stock SET on_hand = on_hand + 5 WHERE sku = 'mug'").await;
    assert_eq!(found(&system).await.0, ["ledger mug -"]);
    tamper(&system, Inventory, "UPDATE stock SET on_hand = on_hand - 5 WHERE sku = 'mug'").await;

    // Something is held that nobody holds.
    tamper(&system, Inventory, "UPDATE stock SET held = held + 1 WHERE sku = 'cup'").await;
    assert_eq!(found(&system).await.0, ["ledger cup -", "holds cup -"]);
    tamper(&system, Inventory, "UPDATE stock SET held = held - 1 WHERE sku = 'cup'").await;

    // Another quantity was ordered than was sold.
    let more = "UPDATE orders SET lines = jsonb_set(lines, '{0,1}', '3') WHERE order_id = ";
    tamper(&system, Order, &format!("{more}'{id}'")).await;
    let (names, report) = found(&system).await;
    assert_eq!(names, [format!("sold mug {id}")]);
    let told = ["2 sold (movement ", ") and 3 ordered: the order is confirmed"];
    assert!(told.iter().all(|told| report.contains(told)), "{report}");
    tamper(&system, Order, &format!("{}'{id}'", more.replace("'3'", "'2'"))).await;

    // Another total was asked for than was captured.
    tamper(&system, Order, &format!("UPDATE orders SET total_minor = total_minor + 7 WHERE order_id = '{id}'")).await;
    let (names, report) = found(&system).await;
    assert_eq!(names, [format!("captured {id} {id}")]);
    assert!(report.contains("250 minor units captured, and 257 to be captured"), "{report}");
    tamper(&system, Order, &format!("UPDATE orders SET total_minor = total_minor - 7 WHERE order_id = '{id}'")).await;

    // An order is gone.
    tamper(&system, Order, &format!("CREATE TABLE kept AS SELECT * FROM orders WHERE order_id = '{id}'; DELETE FROM orders WHERE order_id = '{id}'")).await;
    let (names, report) = found(&system).await;
    assert_eq!(names, [format!("sold cup {id}"), format!("sold mug {id}"), format!("captured {id} {id}")]);
    assert!(report.contains("there is no order"), "{report}");
    tamper(&system, Order, "INSERT INTO orders SELECT * FROM kept").await;

    // A capture is gone, with or without its balance.
    tamper(&system, Payment, &format!("DELETE FROM booking WHERE booking_id = '{id}'")).await;
    let names = found(&system).await.0;
    assert_eq!(names[0], format!("captured {id} {id}"));
    assert!(names.iter().any(|name| name.starts_with("money rich")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("sold")), "{names:?}");

    // In words, and again and again.
    let Ran { exit, stdout, said } = assent(&system, &["--output", "table", "reconcile", "--settle-ms", "50"]).await;
    assert!(exit == 1 && said.contains("captured differs") && stdout.contains(id), "{stdout}\n{said}");
    let (_, exit, _) = reconcile(&system, &["--adjust"]).await;
    assert_eq!(exit, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_is_compared_and_adjusts_each_sku_once() {
    let system = System::start().await;
    let client = system.client();
    client.open_account("rich", 100_000).await;
    for (sku, on_hand) in [("mug", 10), ("cup", 20), ("plate", 5), ("bowl", 1)] {
        client.set_stock(sku, on_hand).await;
    }
    let folder = participant::testing::folder("count-");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write("count.csv", "SKU,quantity\nmug,12\ncup,17\nplate,5\nnew thing,3\n");
    let (report, exit, said) = reconcile(&system, &["--count", &file]).await;
    assert_eq!((exit, &report["agrees"]), (1, &json!(false)), "{said}");
    let differences: Vec<_> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["sku"].clone(), one["difference"].clone()))
        .collect();
    let expected = [("cup", -3), ("mug", 2), ("new thing", 3)].map(|(sku, by)| (json!(sku), json!(by)));
    assert_eq!(differences, expected);
    assert_eq!(report["not_counted"], json!(["bowl"]));
    // Nobody is there to be asked.
    let (_, exit, said) = reconcile(&system, &["--count", &file, "--adjust"]).await;
    assert!(exit == 2 && said.contains("--yes"), "{said}");
    client.stock_becomes("mug", 10).await;

    let (report, exit, said) = reconcile(&system, &["--count", &file, "--adjust", "--yes"]).await;
    assert_eq!(exit, 0, "{said}");
    assert!(report["differences"].as_array().unwrap().iter().all(|one| one["outcome"] == "adjusted"), "{report}");
    for (sku, on_hand) in [("mug", 12), ("cup", 17), ("plate", 5), ("new thing", 3)] {
        client.stock_becomes(sku, on_hand).await;
    }
    let (_, exit, _) = reconcile(&system, &["--count", &file, "--adjust", "--yes"]).await;
    assert_eq!(exit, 0);
    // It goes on selling: the same file says nothing more.
    client.place("first", &Basket::of("rich").line("mug", 4, 1)).await.confirmed().expect("confirmed");
    client.stock_becomes("mug", 8).await;
    let (report, exit, said) = reconcile(&system, &["--count", &file, "--adjust", "--yes"]).await;
    assert_eq!((exit, &report["differences"][0]["outcome"]), (0, &json!("adjusted before")), "{said}");
    client.stock_becomes("mug", 8).await;
    // Another one, of before that sale, does: by what was missing then.
    let before: String = sqlx::query_scalar(
        "SELECT to_char(create_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM movement
         WHERE sku = 'mug' AND sequence = 2",
    )
    .fetch_one(&system.pool(Inventory))
    .await
    .unwrap();
    let other = write("other.csv", "sku;quantity\nmug;11\n");
    let (report, exit, said) = reconcile(&system, &["--count", &other, "--time", &before, "--adjust", "--yes"]).await;
    assert_eq!((exit, &report["differences"][0]["difference"]), (0, &json!(-1)), "{said}");
    client.stock_becomes("mug", 7).await;
    let Ran { stdout, .. } = assent(&system, &["stock", "history", "mug"]).await;
    let history: Value = serde_json::from_str(&stdout).unwrap();
    let kinds: Vec<_> = history["movements"].as_array().unwrap().iter().rev().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["counted", "adjusted", "held", "sold", "adjusted"]);
    agrees(&system).await;

    // What can't be is refused, and said.
    let none = write("none.csv", "SKU,quantity\nmug,0\n");
    for hostile in ["", "SKU,quantity\nmug,-1\n", "SKU,quantity\nmug,1\nmug,2\n", "SKU,quantity\nmug,1e3\n", "a\0b"] {
        let (_, exit, said) = reconcile(&system, &["--count", &write("bad.csv", hostile), "--adjust", "--yes"]).await;
        assert!(exit == 2 && said.contains("is no count"), "{hostile:?}: {exit} {said}");
    }
    client.stock_becomes("mug", 7).await;
    let (_, exit, _) = reconcile(&system, &["--count", &none, "--adjust", "--yes"]).await;
    assert_eq!(exit, 0);
    client.stock_becomes("mug", 0).await;
    let (_, exit, _) = reconcile(&system, &["--count", "/nowhere/at/all.csv"]).await;
    assert_eq!(exit, 2);
}
