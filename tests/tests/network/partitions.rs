//! A coordinator that is cut off for longer than its lease, while another one that is not takes over.
use std::time::{Duration, Instant};

use participant::clock::now_unix_ms;
use participant::testing::{Proxy, Way};
use tests::{CLIENTS, Load, Scene, Service, System, confirms, until};
use uuid::Uuid;

/// An order's time limit, set here.
const TIMEOUT_MS: u64 = 1_000;
/// One that is over before anybody takes over.
const SHORT_TIMEOUT_MS: i64 = 600;
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);
/// Three leases.
const CUT_FOR: Duration = Duration::from_secs(3);
/// An order's time limit; half a second until sweepers look; a second in which the one that is not heard waits for
/// acknowledgements; half a second until they ask the other one; and slack for a busy machine.
const RELEASED_WITHIN: Duration = Duration::from_secs(8);
const CUT_OFF: &str = "coordinator-1";

async fn two_coordinators() -> Scene {
    let set_up = System::set_up().proxied().coordinators(2);
    Scene::start(set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS)).await
}

fn hold(link: &Proxy) {
    Way::BOTH.into_iter().for_each(|way| link.hold(way));
}

/// Cuts the links, for three leases; meanwhile the other coordinator confirms orders and the cut off one none.
async fn cut_off<'a>(scene: &'a Scene, name: &str, links: impl Fn(&'a Scene) -> Vec<&'a Proxy>) -> (Load, Load) {
    let load = Load::start(&scene.clients[..1], CLIENTS, &format!("{name}-cut-off"));
    let other = Load::start(&scene.clients[1..], CLIENTS, &format!("{name}-connected"));
    confirms(&load, 20).await;
    links(scene).into_iter().for_each(hold);
    let (cut, confirmed) = (Instant::now(), load.confirmed());
    confirms(&other, 20).await;
    tokio::time::sleep(CUT_FOR.saturating_sub(cut.elapsed())).await;
    confirms(&other, 20).await;
    assert!(load.confirmed() <= confirmed + CLIENTS, "{name}: the one that is cut off confirmed orders");
    (load, other)
}

/// Heals the network, and concludes.
async fn heal(scene: &mut Scene, fault: &str, (load, other): (Load, Load)) {
    scene.system.network.all().for_each(Proxy::open);
    let healed = Instant::now();
    confirms(&load, 1).await;
    let mut requests = load.stop().await;
    requests.extend(other.stop().await);
    let after = scene.conclude_with(fault, requests, healed).await;
    assert!(after.slowest < TOLD_WITHIN, "{fault}: an answer took {:?}: {}", after.slowest, after.slowest_was);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_cut_off_from_its_database_is_replaced_and_comes_back() {
    let mut scene = two_coordinators().await;
    let loads = cut_off(&scene, "database", |scene| vec![scene.system.network.to_database(CUT_OFF)]).await;
    heal(&mut scene, "a coordinator cut off from its postgres", loads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_cut_off_from_all_participants_gives_up_and_comes_back() {
    let mut scene = two_coordinators().await;
    let loads = cut_off(&scene, "participants", |scene| {
        Service::PARTICIPANTS.iter().flat_map(|it| scene.system.network.between(CUT_OFF, it.name())).collect()
    })
    .await;
    heal(&mut scene, "a coordinator cut off from all participants", loads).await;
}

/// What it holds at the participants it gives up by itself, and answers their sweepers that it did; but to tell them so takes
/// a coordinator that reaches them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_heard_by_no_participant_holds_nothing_for_long() {
    let mut scene = two_coordinators().await;
    let load = Load::start(&scene.clients[..1], CLIENTS, "unheard");
    let other = Load::start(&scene.clients[1..], CLIENTS, "heard");
    confirms(&load, 20).await;
    let (system, network) = (&scene.system, &scene.system.network);
    let (records, owner) = (system.pool(Service::Coordinator), "SELECT owner_id FROM lease WHERE name = $1");
    let owner: String = sqlx::query_scalar(owner).bind(CUT_OFF).fetch_one(&records).await.unwrap();
    let held = async |service, since_unix_ms: i64| {
        let held = "SELECT count(*) FROM branch_in_doubt
                    WHERE owner_id = $1 AND create_time > to_timestamp($2 / 1000.0)";
        let held = sqlx::query_scalar::<_, i64>(held).bind(&owner).bind(since_unix_ms);
        held.fetch_one(&system.pool(service)).await.unwrap()
    };
    // Without these votes it decides nothing until the time limit, so that something is held.
    network.link(CUT_OFF, Service::Inventory.name()).hold(Way::Back);
    let since = now_unix_ms();
    until("something is held", Duration::from_secs(5), async || held(Service::Inventory, since).await > 0).await;
    Service::PARTICIPANTS.iter().for_each(|it| network.link(CUT_OFF, it.name()).hold(Way::There));
    let cut = Instant::now();
    assert!(held(Service::Inventory, since).await > 0);
    for service in Service::PARTICIPANTS {
        until(&format!("{} holds nothing", service.name()), RELEASED_WITHIN, async || held(service, 0).await == 0)
            .await;
    }
    println!("nothing is held for the one that is not heard {} ms after it was cut off", cut.elapsed().as_millis());
    heal(&mut scene, "a coordinator that no participant heard", (load, other)).await;
}

/// Has orders prepared everywhere and recorded, while their coordinator waits for one vote, and then nothing that it sends
/// arrives any more: neither decision nor that it gives up. Their ids.
async fn cut_off_in_wait(scene: &Scene) -> Vec<Uuid> {
    let network = &scene.system.network;
    let records = scene.system.pool(Service::Coordinator);
    let waiting = async |without_votes_since: i64| {
        // Its vote has not come back (one that came before may be on its way to the database as a decision), and it does not give
        // them up yet, nor in the next moment.
        let deadline = (without_votes_since + SHORT_TIMEOUT_MS).max(now_unix_ms() + 100);
        let staging = "SELECT transaction_id FROM undecided_record WHERE deadline_unix_ms > $1";
        let staging = sqlx::query_scalar::<_, Uuid>(staging).bind(deadline).fetch_all(&records);
        let mut waiting = staging.await.unwrap();
        for service in Service::PARTICIPANTS {
            let prepared = "SELECT transaction_id FROM branch_in_doubt WHERE transaction_id = ANY($1::uuid[])";
            let branches = scene.system.pool(service);
            waiting = sqlx::query_scalar(prepared).bind(waiting).fetch_all(&branches).await.unwrap();
        }
        waiting
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        network.link(CUT_OFF, Service::Order.name()).hold(Way::Back);
        let without_votes_since = now_unix_ms();
        until("an order stands half way", Duration::from_secs(10), async || {
            !waiting(without_votes_since).await.is_empty()
        })
        .await;
        network.from(CUT_OFF).for_each(|link| link.hold(Way::There));
        let waiting = waiting(without_votes_since).await;
        if !waiting.is_empty() {
            return waiting;
        }
        network.from(CUT_OFF).for_each(Proxy::open);
    }
    panic!("no order ever stood half way");
}

/// The first coordinator wants to give the orders up, before its lease runs out; the second one, which finds all votes,
/// commits them. Then all that the first one has sent meanwhile arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_coordinator_sent_before_its_takeover_arrives_after_it_and_harms_nothing() {
    let set_up = System::set_up().proxied().coordinators(2);
    let set_up = set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", SHORT_TIMEOUT_MS);
    // Far longer than the time limit, so that it wants to give up before anybody takes over.
    let mut scene = Scene::start(set_up.set(Service::Coordinator, "ASSENT_LEASE_MS", 2_000)).await;
    let load = Load::start(&scene.clients[..1], CLIENTS, "late");
    confirms(&load, 20).await;
    let waiting = cut_off_in_wait(&scene).await;
    let cut = Instant::now();
    until("the other coordinator has finished everything", Duration::from_secs(10), async || {
        scene.clients[1].in_doubt().await.unwrap().is_empty()
    })
    .await;
    println!("the other coordinator finished everything {} ms after the first was cut off", cut.elapsed().as_millis());
    scene.system.network.all().for_each(Proxy::open);
    let healed = Instant::now();
    scene.conclude("a coordinator whose messages came late", load, healed).await;
    let ends = "SELECT transaction_id, state, (extract(epoch FROM decide_time) * 1000)::bigint - deadline_unix_ms
                FROM record_as_it_stands WHERE transaction_id = ANY($1::uuid[])";
    let records = scene.system.pool(Service::Coordinator);
    let ends: Vec<(Uuid, i16, Option<i64>)> = sqlx::query_as(ends).bind(&waiting).fetch_all(&records).await.unwrap();
    let against = ends.iter().filter(|(_, state, late_ms)| *state == 2 && late_ms.is_some_and(|it| it > 0)).count();
    println!("{against} of {} orders were committed after their own coordinator wanted to give them up", waiting.len());
    assert!(against > 0, "of {waiting:?} are left, with state and how much later than their deadline: {ends:?}");
}
