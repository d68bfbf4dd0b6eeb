//! Payments through a card gateway that misbehaves, while it and payment-svc are killed: no customer is charged twice or for
//! an order that was refused, and every confirmed order is captured once.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto::assent::payment::v1::{GetPaymentRequest, ListGatewayCallsRequest, PaymentState};
use sqlx::PgPool;
use tests::{
    Answer, Basket, Books, Client, FakeGateway, Load, Request, Service, System, confirms, doctor, timed, until,
};

/// Everything at once, and more of it than any gateway would have.
const HOSTILE: &str = r#"{"slow_percent": 15, "slow_ms": 300, "error_percent": 8, "error_after_percent": 8,
    "lost_percent": 8, "unknown_percent": 8, "declined_percent": 5, "webhook_duplicates": 2, "webhook_late_ms": 500,
    "webhook_lost_percent": 20}"#;

/// Nothing that it does is told.
const SILENT: &str = r#"{"lost_percent": 100, "webhook_lost_percent": 100}"#;

/// How soon the gateway must have done what it is to do, once it behaves.
const DONE_WITHIN: Duration = Duration::from_secs(40);

struct Shop {
    gateway: FakeGateway,
    system: System,
    client: Client,
}

impl Shop {
    async fn open() -> Self {
        let gateway = FakeGateway::start().await;
        let system = gateway.pays_for(System::set_up()).start().await;
        let client = system.client();
        Shop { gateway, system, client }
    }

    fn database(&self) -> PgPool {
        self.system.pool(Service::Payment)
    }

    /// Waits until the gateway has done all that it is to do.
    async fn nothing_is_open(&self) -> Duration {
        let database = self.database();
        let open = "SELECT count(*) FROM gateway_call WHERE state IN ('asking', 'wanted', 'given_up')";
        until("the gateway has done all", DONE_WITHIN, async || {
            sqlx::query_scalar::<_, i64>(open).fetch_one(&database).await.is_ok_and(|open| open == 0)
        })
        .await
    }

    /// Places an order that nothing is wrong with, until it is confirmed.
    async fn confirmed(&self, request_id: &str) -> String {
        let basket = Basket::of("ann").line("mug", 1, 450);
        let id = self.client.place(request_id, &basket).await.confirmed().expect("a confirmed order").to_owned();
        // Its commit, which says what is to be done at the gateway, follows the answer.
        self.client.settled(Duration::from_secs(5)).await;
        id
    }
}

/// What clients were told, held against what stands at the gateway; how many orders were confirmed, and how many not.
async fn audit(shop: &Shop, requests: &[Request]) -> (usize, usize) {
    let payments = shop.gateway.payments().await;
    let mut confirmed: BTreeMap<String, i64> = BTreeMap::new();
    for request in requests {
        let ids: BTreeSet<&str> = request.answers.iter().filter_map(|(answer, _)| answer.confirmed()).collect();
        assert!(ids.len() <= 1, "one request, two orders: {request:?}");
        confirmed.extend(ids.into_iter().map(|id| (id.to_owned(), request.basket.total_minor())));
    }
    for (order_id, total_minor) in &confirmed {
        let payment = payments.get(order_id).unwrap_or_else(|| panic!("confirmed and not charged: {order_id}"));
        let stands = (payment.captures, payment.captured_minor, payment.voided_minor, payment.refunded_minor);
        assert_eq!(stands, (1, *total_minor, 0, 0), "{payment:?}");
    }
    let others = payments.values().filter(|payment| !confirmed.contains_key(&payment.reference));
    let mut refused = 0;
    for payment in others {
        refused += 1;
        let stands = (payment.captured_minor - payment.refunded_minor, payment.authorised_minor);
        let none = (0, payment.voided_minor + payment.refunded_minor);
        assert_eq!(stands, none, "charged or held for an order that was not placed: {payment:?}");
    }
    doctor::all_holds(&shop.system).await;
    (confirmed.len(), refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_customer_is_charged_twice_or_for_a_refused_order_whatever_happens() {
    let shop = Shop::open().await;
    let (payment, client) = (shop.system.server(Service::Payment), shop.client.clone());
    Books::open(&client).await;
    shop.gateway.misbehave(HOSTILE).await;
    let load = Load::start(std::slice::from_ref(&client), 6, "gateway");
    let sagas = Load::start(&[client.in_saga_mode()], 3, "saga");
    let mut crashes = 0;
    for point in ["gateway.before_ask", "gateway.after_ask", "gateway.before_call", "gateway.after_call"] {
        confirms(&load, 8).await;
        payment.kill();
        payment.start_with(&[("ASSENT_CRASH_POINT", &format!("{point}#5"))]);
        assert!(payment.halts_at(point, Duration::from_secs(30)).await, "{point} is never passed");
        payment.start_healthy().await;
        confirms(&load, 8).await;
        shop.gateway.kill();
        shop.gateway.start_again().await;
        // It does everything, and nobody is told: votes are unknown.
        shop.gateway.misbehave(SILENT).await;
        let answered = load.answered() + 4;
        until("orders are given up", Duration::from_secs(20), async || load.answered() >= answered).await;
        shop.gateway.misbehave(HOSTILE).await;
        crashes += 3;
    }
    confirms(&load, 8).await;
    shop.gateway.misbehave("{}").await;
    let (mut requests, mut by_saga) = (load.stop().await, sagas.stop().await);
    Books::resolve(&client, &mut requests).await;
    Books::resolve(&client.in_saga_mode(), &mut by_saga).await;
    requests.append(&mut by_saga);
    client.in_saga_mode().settled(Duration::from_secs(30)).await;
    let took = shop.nothing_is_open().await;
    let (confirmed, refused) = audit(&shop, &requests).await;
    println!(
        "{} requests, {crashes} kills: {confirmed} orders confirmed and captured once each, {refused} authorisations of \
         other orders voided; all done {} ms after the gateway behaved",
        requests.len(),
        took.as_millis()
    );
    assert!(refused > 0, "some were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_down_refuses_nothing_and_what_was_promised_is_captured_when_it_is_back() {
    let shop = Shop::open().await;
    shop.client.set_stock("mug", 10).await;
    let id = shop.confirmed("before").await;
    shop.nothing_is_open().await;
    // Authorised, and then it goes away: the order stands, its capture waits.
    shop.gateway.misbehave(r#"{"declined_percent": 100}"#).await;
    let declined = shop.client.place("declined", &Basket::of("ann").line("mug", 1, 450)).await;
    assert!(matches!(&declined, Answer::Refused { reason, .. } if reason == "CARD_DECLINED"), "{declined:?}");
    shop.gateway.kill();
    let basket = Basket::of("ann").line("mug", 1, 450);
    let answer = shop.client.place("while-it-is-down", &basket).await;
    assert!(matches!(answer, Answer::Aborted { .. } | Answer::Unknown { .. }), "{answer:?}");
    let asked = timed(GetPaymentRequest { payment_id: id.clone() });
    let payment = shop.client.accounts.clone().get_payment(asked).await.unwrap().into_inner().payment.unwrap();
    assert_eq!(payment.state(), PaymentState::Captured);
    let operations: Vec<_> = payment.calls.iter().map(|call| (call.operation.as_str(), call.state.as_str())).collect();
    assert_eq!(operations, [("authorise", "approved"), ("capture", "done")]);
    shop.client.settled(Duration::from_secs(10)).await;
    shop.gateway.start_again().await;
    shop.nothing_is_open().await;
    let second = shop.confirmed("after").await;
    shop.nothing_is_open().await;
    let captured: Vec<String> = shop
        .gateway
        .payments()
        .await
        .into_values()
        .filter(|it| it.captured_minor == 450)
        .map(|it| it.reference)
        .collect();
    assert_eq!(BTreeSet::from_iter(captured), BTreeSet::from([id, second]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_the_gateway_does_not_do_is_shown_until_it_is_done() {
    let shop = Shop::open().await;
    shop.client.set_stock("mug", 10).await;
    // Every answer after the first is an error, so the vote is known and the capture is not.
    let id = shop.confirmed("mug").await;
    shop.nothing_is_open().await;
    let database = shop.database();
    shop.gateway.misbehave(r#"{"down": true}"#).await;
    let stuck =
        "INSERT INTO gateway_call (call_id, payment_id, operation, account, currency, amount_minor, state, gateway_id,
                 create_time)
                 SELECT 'planted:void', payment_id, 'void', account, currency, 0, 'wanted', gateway_id,
                        now() - interval '1 minute'
                 FROM gateway_call WHERE payment_id::text = $1 AND operation = 'authorise'";
    sqlx::query(stuck).bind(&id).execute(&database).await.unwrap();
    let listed = || async {
        let request = ListGatewayCallsRequest { stuck_only: true, ..Default::default() };
        shop.client.accounts.clone().list_gateway_calls(timed(request)).await.unwrap().into_inner().calls
    };
    until("it says why", Duration::from_secs(10), async || {
        listed().await.first().is_some_and(|call| call.last_error.contains("503: DOWN"))
    })
    .await;
    let ran = tests::assent(&shop.system, &["payment", "ls", "--stuck"]).await;
    assert!(ran.stdout.contains("void") && ran.stdout.contains("503"), "{}", ran.stdout);
}
