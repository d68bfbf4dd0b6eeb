//! Sagas that can't go on hold up no others.
use std::time::{Duration, Instant};

use tests::{Scene, Service, System, assent, confirms, until};

/// So many sagas wait for a participant that is not there.
const STUCK: i32 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_stuck_on_a_participant_that_is_away_slow_no_others_and_stay() {
    let mut scene = Scene::start(System::set_up()).await;
    // Begun by a coordinator that died long ago, past their pivots; nobody is called shipping here any more.
    let database = scene.system.pool(Service::Coordinator);
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "WITH ids AS (SELECT gen_random_uuid() AS id FROM generate_series(1, {STUCK})), r AS (
             INSERT INTO record (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms,
                                 participants, state, holds_request, mode, first_decision, decide_time)
             SELECT id, 'shop', id::text, ''::bytea, 'dead', extract(epoch FROM now()) * 1000 - 5000, 'shipping', 2, true, 2, 2, now()
             FROM ids
         ), s AS (
             INSERT INTO saga (transaction_id, owner_id, deadline_unix_ms)
             SELECT id, 'dead', extract(epoch FROM now()) * 1000 - 5000 FROM ids
         ), o AS (INSERT INTO open_saga SELECT id FROM ids)
         INSERT INTO saga_step (transaction_id, place, name, participant, kind, after, branch, state)
         SELECT id, 0, 'pay', 'shipping', 2, '', ''::bytea, 2 FROM ids UNION ALL
         SELECT id, 1, 'ship', 'shipping', 3, '0', ''::bytea, 1 FROM ids"
    )))
    .execute(&database)
    .await
    .unwrap();
    let clients: Vec<_> = scene.clients.iter().map(|client| client.in_saga_mode()).collect();
    let load = tests::Load::start(&clients, 8, "beside");
    confirms(&load, 100).await;
    let requests = load.stop().await;
    let slowest = requests.iter().map(|request| request.slowest()).max().unwrap();
    assert!(slowest < Duration::from_secs(2), "an order took {slowest:?} beside stuck sagas");

    let system = &scene.system;
    until("all of them are listed with what they wait for", Duration::from_secs(30), async || {
        let listed = assent(system, &["tx", "ls", "--stuck", "--limit", "1000"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        let stuck = listed["transactions"].as_array().unwrap();
        assert_eq!(stuck.len(), usize::try_from(STUCK).unwrap());
        stuck.iter().all(|it| it["stuck_reason"].as_str().unwrap().contains("ship at shipping"))
    })
    .await;
    // Once they are out of the way, all else is as it should be.
    sqlx::query("UPDATE saga SET paused = true, epoch = epoch + 1 WHERE end_time IS NULL")
        .execute(&database)
        .await
        .unwrap();
    sqlx::query("DELETE FROM saga_step WHERE participant = 'shipping'").execute(&database).await.unwrap();
    sqlx::query("DELETE FROM open_saga").execute(&database).await.unwrap();
    for table in ["saga", "record"] {
        let gone = format!(
            "DELETE FROM {table} WHERE owner_id = 'dead' OR transaction_id NOT IN (SELECT transaction_id FROM saga_step)"
        );
        sqlx::query(sqlx::AssertSqlSafe(gone)).execute(&database).await.unwrap();
    }
    scene.conclude_with("sagas were stuck", requests, Instant::now()).await;
}
