//! What operators do to sagas, by the command line.
use std::time::Duration;

use tests::{Answer, Basket, Service, System, assent, doctor, until};

async fn saga(system: &System, verb: &str, id: &str) -> (i32, serde_json::Value, String) {
    let ran = assent(system, &["tx", verb, id]).await;
    (ran.exit, serde_json::from_str(&ran.stdout).unwrap_or_default(), ran.said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_paused_at_one_coordinator_resumed_at_another_and_cancelled() {
    let system = System::set_up().coordinators(2).start().await;
    let client = system.client().in_saga_mode();
    client.set_stock("rose", 10).await;
    client.open_account("iris", 10_000).await;
    system.server(Service::Inventory).pause();
    let placing = {
        let client = client.clone();
        let request = Basket::of("iris").line("rose", 3, 100);
        tokio::spawn(async move { client.place("steered", &request).await })
    };
    let sagas = system.pool(Service::Coordinator);
    let found = async || {
        let id = sqlx::query_scalar::<_, String>("SELECT transaction_id::text FROM open_saga");
        id.fetch_optional(&sagas).await.unwrap()
    };
    until("the saga is begun", Duration::from_secs(5), async || found().await.is_some()).await;
    let id = found().await.unwrap();
    // The CLI asks the first coordinator that runs, which is the one that drives it.
    let (exit, paused, said) = saga(&system, "pause", &id).await;
    assert_eq!((exit, paused["saga"]["paused"].as_bool()), (0, Some(true)), "{said}");
    let (_, shown, _) = saga(&system, "show", &id).await;
    assert_eq!(shown["record"]["saga"]["paused"], true);
    // Paused, it survives its coordinator, and nobody goes on with it.
    system.coordinator(0).kill();
    system.server(Service::Inventory).resume();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(found().await.as_deref(), Some(id.as_str()));
    client.stock_becomes("rose", 10).await;

    system.server(Service::Payment).pause();
    let (exit, resumed, said) = saga(&system, "resume", &id).await;
    assert_eq!((exit, resumed["saga"]["paused"].as_bool()), (0, Some(false)), "{said}");
    until("the saga has ended", Duration::from_secs(10), async || found().await.is_none()).await;
    // Its deadline was over when it was resumed, so it was given up.
    let (_, shown, _) = saga(&system, "show", &id).await;
    assert_eq!(
        (&shown["record"]["saga"]["state"], &shown["record"]["state"]),
        (&"compensated".into(), &"aborted".into())
    );
    let (exit, _, said) = saga(&system, "cancel", &id).await;
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("the saga has ended"), "{said}");
    system.server(Service::Payment).resume();
    system.coordinator(0).start_healthy().await;
    placing.await.unwrap();
    client.settled(Duration::from_secs(10)).await;
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_cancelled_before_its_pivot_and_can_not_be_after_it() {
    let system = System::start().await;
    let client = system.client().in_saga_mode();
    client.set_stock("rose", 10).await;
    client.open_account("iris", 10_000).await;
    let frozen = [(Service::Inventory, true), (Service::Payment, false)];
    for (service, can_be) in frozen {
        let server = system.server(service);
        server.pause();
        let placing = {
            let (client, name) = (client.clone(), format!("cancelled-{}", service.name()));
            let request = Basket::of("iris").line("rose", 3, 100);
            tokio::spawn(async move { client.place(&name, &request).await })
        };
        let sagas = system.pool(Service::Coordinator);
        // Before the pivot: the order is placed. After it: the stock's and the order's results stand.
        let wanted: i64 = if can_be { 0 } else { 2 };
        let found = async || {
            let id = sqlx::query_scalar::<_, String>(
                "SELECT transaction_id::text FROM open_saga o WHERE (
                     SELECT count(*) FROM saga_step s WHERE s.transaction_id = o.transaction_id AND s.state = 2) = $1",
            );
            id.bind(wanted).fetch_optional(&sagas).await.unwrap()
        };
        until("the saga is where it is to be", Duration::from_secs(5), async || found().await.is_some()).await;
        let id = found().await.unwrap();
        let (exit, cancelled, said) = saga(&system, "cancel", &id).await;
        server.resume();
        let answer = placing.await.unwrap();
        match can_be {
            true => {
                assert_eq!((exit, &cancelled["saga"]["state"]), (0, &"backward".into()), "{said}");
                assert!(matches!(answer, Answer::Aborted { .. }), "{answer:?}");
                client.settled(Duration::from_secs(10)).await;
                client.stock_becomes("rose", 10).await;
            }
            false => {
                assert_eq!(exit, 3, "{said}");
                assert!(said.contains("point of no return"), "{said}");
                assert!(answer.confirmed().is_some(), "{answer:?}");
                client.settled(Duration::from_secs(10)).await;
                client.stock_becomes("rose", 7).await;
            }
        }
    }
    doctor::all_holds(&system).await;
}
