//! A system at work, without any fault: every answer is true, and all holds.
use std::time::Duration;

use tests::{Books, Load, System, doctor, until};

#[tokio::test]
async fn under_load_every_answer_is_true_and_nothing_stays_in_doubt() {
    let system = System::set_up().coordinators(2).start().await;
    let clients = [system.client_of(0), system.client_of(1)];
    let mut books = Books::open(&clients[0]).await;
    let load = Load::start(&clients, 8, "busy");
    until("500 orders are answered", Duration::from_secs(30), async || load.answered() >= 500).await;
    let requests = load.stop().await;
    clients[0].settled(Duration::from_secs(2)).await;
    let kinds = Books::kinds(&requests);
    println!("{kinds:?}");
    assert!(kinds["confirmed"] > 200 && kinds["refused"] > 50 && kinds.len() == 2, "{kinds:?}");
    let wrong = books.check(&system, &clients[1], requests).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    doctor::all_holds(&system).await;
}
