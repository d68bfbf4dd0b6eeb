//! Every service of Assent's own conforms, and after each kill -9.
use std::time::Duration;

use participant::testing::folder;
use tests::{Server, Service, System, restart_command, until, verify};

/// A system without coordinators, because these would abort what the kit leaves prepared; collects all the time, so that
/// the watermark moves.
async fn system() -> System {
    let mut set_up = System::set_up().coordinators(0);
    for service in Service::PARTICIPANTS {
        set_up = set_up
            .set(service, "ASSENT_COORDINATORS", "http://127.0.0.1:9")
            .set(service, "ASSENT_COLLECT_INTERVAL_MS", 100)
            .set(service, "ASSENT_WATERMARK_LAG_MS", 60_000);
    }
    set_up.start().await
}

/// Kills the server and starts it again whenever the kit asks for it.
async fn restarts(server: &Server, file: &std::path::Path) {
    loop {
        if file.exists() {
            server.kill();
            until("it is dead", Duration::from_secs(10), async || server.ended()).await;
            server.start_healthy().await;
            std::fs::remove_file(file).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the kit on a service, with restarts.
async fn conforms(system: &System, service: Service, skipped: &[&str]) {
    let (server, folder) = (system.server(service), folder("restart-"));
    let file = folder.path().join("wanted");
    let command = restart_command(&file);
    let address = server.address();
    let arguments = ["--as", service.name(), "--restart-command", &command];
    let verified = tokio::select! {
        verified = verify(&address, &arguments) => verified,
        () = restarts(server, &file) => unreachable!("it goes on for ever"),
    };
    verified.holds_but_for(skipped);
}

#[tokio::test]
async fn assents_own_services_conform_also_when_they_are_killed() {
    let system = system().await;
    let client = tests::Client::new(&system, system.server(Service::Inventory));
    let unprepared = verify(&system.server(Service::Inventory).address(), &["--as", "inventory"]).await;
    assert_eq!((unprepared.exit, unprepared.ids("broken")), (1, vec!["1.1"]));
    assert!(unprepared.said.contains("assent stock set conformance 1000"), "{}", unprepared.said);
    client.set_stock("conformance", 1_000).await;
    client.open_account("conformance", 1_000).await;
    conforms(&system, Service::Inventory, &[]).await;
    conforms(&system, Service::Payment, &[]).await;
    // It writes down every valid order, and has no books.
    conforms(&system, Service::Order, &["1.2", "2.3", "2.4", "3.6", "5.1", "5.2", "7.7"]).await;
}
