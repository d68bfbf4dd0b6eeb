//! The stock's ledger as an operator reads it, through the real system: history, the past, and the replay.
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::Service::Inventory;
use tests::{Basket, Load, Ran, System, assent, until};

/// Runs `assent stock` and reads its data.
async fn stock(system: &System, arguments: &[&str]) -> (Value, i32, String) {
    let Ran { exit, stdout, said } = assent(system, &[&["stock"], arguments].concat()).await;
    let data = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    (data, exit, said)
}

/// Fields of each movement, newest first.
fn told(history: &Value, fields: &[&str]) -> Vec<Value> {
    let movements = history["movements"].as_array().expect("movements");
    movements.iter().map(|movement| fields.iter().map(|field| movement[*field].clone()).collect()).collect()
}

async fn tamper(system: &System, statements: &str) {
    let statements = format!("SET session_replication_role = replica; {statements}; RESET session_replication_role");
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&system.pool(Inventory)).await.unwrap();
    assert!(done.rows_affected() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_read_in_the_history_and_the_past_of_its_sku() {
    let system = System::start().await;
    let client = system.client();
    client.open_account("rich", 100_000).await;
    client.set_stock("mug", 10).await;
    client.adjust_stock("mug", 5, "delivery-1").await.unwrap();
    let placed = client.place("first", &Basket::of("rich").line("mug", 2, 100).line("mug", 1, 100)).await;
    let order_id = placed.confirmed().expect("confirmed").to_owned();
    client.stock_becomes("mug", 12).await;
    // Nothing of it is to be had, nothing can be paid: both leave what the ledger must tell apart.
    client.place("second", &Basket::of("rich").line("mug", 13, 1)).await;
    client.place("third", &Basket::of("rich").line("mug", 1, 1_000_000)).await;
    client.settled(Duration::from_secs(5)).await;

    let (history, exit, said) = stock(&system, &["history", "mug"]).await;
    assert_eq!(exit, 0, "{said}");
    let fields = ["sequence", "kind", "quantity", "on_hand", "held"];
    let mut expected = vec![
        json!([4, "sold", 3, 12, 0]),
        json!([3, "held", 3, 15, 3]),
        json!([2, "received", 5, 15, 0]),
        json!([1, "counted", 10, 10, 0]),
    ];
    let all = told(&history, &fields);
    assert_eq!(all[all.len() - 4..], expected);
    // The third was held and given back, unless it was refused elsewhere before it came here.
    if all.len() > 4 {
        expected.splice(0..0, [json!([6, "released", 1, 12, 0]), json!([5, "held", 1, 12, 1])]);
        assert_eq!(all, expected);
        assert_eq!(history["movements"][0]["reason"], "INSUFFICIENT_FUNDS");
    }
    let references = told(&history, &["reference", "actor"]);
    assert_eq!(
        references[references.len() - 4..],
        [json!([order_id, ""]), json!([order_id, ""]), json!(["delivery-1", "default"]), json!(["", "default"])]
    );
    let (newest, ..) = stock(&system, &["history", "mug", "--limit", "1"]).await;
    assert_eq!(told(&newest, &["sequence"]), all[..1].iter().map(|one| json!([one[0]])).collect::<Vec<_>>());

    // Between the vote and the commit it was held: as of the very time of that movement.
    let (of, movements) = (all.len() - 3, &history["movements"]);
    let exact: Vec<String> = sqlx::query_scalar(
        "SELECT to_char(create_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM movement
         WHERE sku = 'mug' AND sequence <= 4 ORDER BY sequence",
    )
    .fetch_all(&system.pool(Inventory))
    .await
    .unwrap();
    assert_eq!(movements[of]["sequence"], 3);
    for (time, then) in exact.iter().zip([(10, 0, 1), (15, 0, 2), (15, 3, 3), (12, 0, 4)]) {
        let (item, exit, said) = stock(&system, &["at", "mug", "--time", time]).await;
        assert_eq!(exit, 0, "{said}");
        assert_eq!(
            (&item["on_hand"], &item["held"], &item["version"]),
            (&json!(then.0), &json!(then.1), &json!(then.2))
        );
    }
    let (now, ..) = stock(&system, &["at", "mug", "--time", "-0s"]).await;
    assert_eq!(now["on_hand"], 12);
    let (_, exit, said) = stock(&system, &["at", "mug", "--time", "-1d"]).await;
    assert!(exit == 1 && said.contains("mug"), "{exit} {said}");
    let (_, exit, _) = stock(&system, &["at", "mug", "--time", "yesterday"]).await;
    assert_eq!(exit, 2);
    let (_, exit, said) = stock(&system, &["history", "nowhere"]).await;
    assert!(exit == 1 && said.contains("nowhere"), "{exit} {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replay_comes_to_the_stock_under_load_and_names_what_was_planted() {
    let system = System::start().await;
    let client = system.client();
    let _books = tests::Books::open(&client).await;
    let load = Load::start(std::slice::from_ref(&client), 4, "ledger");
    until("orders are answered", Duration::from_secs(60), async || load.answered() >= 100).await;
    let (under_load, exit, said) = stock(&system, &["rebuild", "--verify"]).await;
    assert_eq!((exit, &under_load["differences"]), (0, &json!([])), "{said}");
    load.stop().await;
    client.settled(Duration::from_secs(5)).await;
    let (quiet, exit, said) = stock(&system, &["rebuild", "--verify"]).await;
    assert_eq!((exit, &quiet["differences"]), (0, &json!([])), "{said}");
    assert!(quiet["skus"].as_i64() == Some(13) && quiet["movements"].as_i64() > under_load["movements"].as_i64());

    let found = async |sku: &str| {
        let (verified, exit, said) = stock(&system, &["rebuild", "--verify"]).await;
        assert!(exit == 1 && said.contains(sku), "{exit} {said}");
        let found = verified["differences"].as_array().expect("differences").clone();
        assert!(found.iter().all(|difference| difference["sku"] == sku), "{found:?}");
        found.into_iter().map(|found| (found["differs"].clone(), found["sequence"].clone())).collect::<Vec<_>>()
    };
    tamper(&system, "UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'sku-3'").await;
    assert_eq!(found("sku-3").await, [(json!("on_hand"), Value::Null)]);
    tamper(&system, "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'sku-3'").await;
    tamper(&system, "CREATE TABLE kept AS SELECT * FROM movement WHERE sku = 'sku-4' AND sequence = 2; DELETE FROM movement WHERE sku = 'sku-4' AND sequence = 2").await;
    assert_eq!(found("sku-4").await, [(json!("sequence"), json!(2))]);
    tamper(&system, "INSERT INTO movement SELECT * FROM kept; UPDATE movement SET quantity = quantity + 1 WHERE sku = 'sku-5' AND sequence = 2").await;
    assert_eq!(found("sku-5").await, [(json!("movement"), json!(2))]);
    tamper(&system, "UPDATE movement SET quantity = quantity - 1 WHERE sku = 'sku-5' AND sequence = 2").await;
    tests::doctor::all_holds(&system).await;

    let (_, exit, _) = stock(&system, &["rebuild"]).await;
    assert_eq!(exit, 2, "there is nothing to do but to verify");
}
