//! What is wrong in a request is told by a clear status, and nothing comes of it.
use proto::assent::inventory::v1::{
    AdjustStockRequest, GetStockRequest, ListMovementsRequest, ListStockRequest, SetStockRequest, VerifyStockRequest,
};
use proto::assent::order::v1::{GetOrderRequest, ListOrdersRequest, OrderLine, PlaceOrderRequest};
use proto::assent::payment::v1::{DepositRequest, GetAccountRequest, ListEntriesRequest, OpenAccountRequest};
use proto::assent::transaction::v1::{
    GetTransactionRequest, ListTransactionsRequest, RecoverTransactionRequest, TransactionRef,
};
use proto::google::r#type::Money;
use tests::{Answer, Basket, Client, doctor, error_info, gbp, shared, timed};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// A client whose account and stock must stay as they are.
async fn shop(client: &Client, account: &str) -> Client {
    client.open_account(account, 10_000).await;
    client.set_stock(account, 100).await;
    client.clone()
}

/// Nothing was sold, charged or held by all that.
async fn nothing_came_of_it(client: &Client, account: &str) {
    client.stock_becomes(account, 100).await;
    client.balance_becomes(account, 10_000).await;
}

fn line(sku: &str, quantity: i64, unit_price: Option<Money>) -> OrderLine {
    OrderLine { sku: sku.to_owned(), quantity, unit_price, ..OrderLine::default() }
}

fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.to_owned(), units, nanos })
}

/// A status of this code whose ErrorInfo gives this reason.
fn is_told(what: &str, status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), error_info(status).0.as_str()), (code, reason), "{what}: {status:?}");
    assert!(!status.message().is_empty(), "{what} is not explained");
}

fn is_invalid<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, field: &str) {
    let status = answer.expect_err(what);
    is_told(what, &status, Code::InvalidArgument, "INVALID_ARGUMENT");
    let metadata = error_info(&status).1;
    assert!(metadata["field"].starts_with(field), "{what}: {metadata:?}");
}

#[tokio::test]
async fn an_order_that_can_t_be_is_refused_by_its_field() {
    let system = shared().await;
    let client = shop(&system.client(), "strict").await;
    let good = || line("strict", 1, Some(gbp(100)));
    let pound = i64::MAX / 100;
    let cases: Vec<(&str, Vec<OrderLine>)> = vec![
        ("lines", vec![]),
        ("lines[1].quantity", vec![good(), line("strict", 0, Some(gbp(1)))]),
        ("lines[0].quantity", vec![line("strict", -1, Some(gbp(1)))]),
        ("lines[0].quantity", vec![line("strict", i64::MIN, Some(gbp(1)))]),
        ("lines[0].quantity", vec![line("strict", i64::MAX, Some(gbp(1)))]),
        ("lines[0].quantity", vec![line("strict", 1_000_000_001, Some(gbp(1)))]),
        ("lines[0].unit_price", vec![line("strict", 1, None)]),
        ("lines[0].unit_price", vec![line("strict", 1, Some(gbp(-1)))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("GBP", i64::MIN, 0))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("GBP", i64::MAX, 0))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("GBP", 1, -1))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("GBP", 0, 1))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("GBP", 0, i32::MIN))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("pounds", 1, 0))]),
        ("lines[0].unit_price", vec![line("strict", 1, money("", 1, 0))]),
        ("lines[1].unit_price", vec![good(), line("strict", 1, money("EUR", 1, 0))]),
        // Each price fits, their sum does not.
        ("lines", vec![line("strict", 1, money("GBP", pound, 0)), line("strict", 1, money("GBP", pound, 0))]),
        ("lines", vec![line("strict", 1_000_000_000, money("GBP", pound, 0))]),
        ("lines[0].sku", vec![line("", 1, Some(gbp(1)))]),
        ("lines[0].sku", vec![line("nul\0", 1, Some(gbp(1)))]),
        ("lines[0].sku", vec![line(" strict", 1, Some(gbp(1)))]),
        ("lines[0].sku", vec![line(&"x".repeat(65), 1, Some(gbp(1)))]),
    ];
    for (place, (field, lines)) in cases.into_iter().enumerate() {
        let request = PlaceOrderRequest {
            request_id: format!("strict-{place}"),
            account: "strict".to_owned(),
            lines: lines.clone(),
            timeout_ms: 0,
            mode: 0,
            reservation_ids: Vec::new(),
            ..PlaceOrderRequest::default()
        };
        is_invalid(&format!("{lines:?}"), client.orders.clone().place_order(timed(request)).await, field);
    }
    let good = PlaceOrderRequest { lines: vec![good()], ..Basket::of("strict").request("strict-other") };
    let altered = [
        ("account", PlaceOrderRequest { account: String::new(), ..good.clone() }),
        ("account", PlaceOrderRequest { account: "assent:revenue:GBP".to_owned(), ..good.clone() }),
        ("account", PlaceOrderRequest { account: "a'; DROP TABLE orders; --".to_owned(), ..good.clone() }),
        ("request_id", PlaceOrderRequest { request_id: "two words".to_owned(), ..good.clone() }),
        ("request_id", PlaceOrderRequest { request_id: "x".repeat(257), ..good.clone() }),
        ("mode", PlaceOrderRequest { mode: 99, ..good.clone() }),
        ("timeout_ms", PlaceOrderRequest { timeout_ms: -1, ..good.clone() }),
        ("timeout_ms", PlaceOrderRequest { timeout_ms: i32::MAX, ..good.clone() }),
    ];
    for (field, request) in altered {
        is_invalid(&format!("{request:?}"), client.orders.clone().place_order(timed(request)).await, field);
    }
    nothing_came_of_it(&client, "strict").await;
}

#[tokio::test]
async fn an_order_in_another_currency_than_its_account_is_refused() {
    let system = shared().await;
    let client = shop(&system.client(), "sterling").await;
    let lines = vec![line("sterling", 1, money("JPY", 100, 0))];
    let answer =
        client.place_request(PlaceOrderRequest { lines, ..Basket::of("sterling").request("sterling-1") }).await;
    assert!(matches!(&answer, Answer::Refused { reason, .. } if reason == "CURRENCY_MISMATCH"), "{answer:?}");
    nothing_came_of_it(&client, "sterling").await;
}

#[tokio::test]
async fn ids_tokens_and_states_that_can_t_be_are_refused_by_every_read() {
    let system = shared().await;
    let client = shop(&system.client(), "reader").await;
    for order_id in ["", "not-a-uuid", "1234", "' OR 1=1", &"9".repeat(10_000)] {
        let order_id = order_id.to_owned();
        let read = client.orders.clone().get_order(timed(GetOrderRequest { order_id: order_id.clone() })).await;
        is_invalid("an order's id", read, "order_id");
        let request = GetTransactionRequest { transaction_id: order_id.clone() };
        is_invalid(
            "a transaction's id",
            client.transactions.clone().get_transaction(timed(request)).await,
            "transaction_id",
        );
        let transaction = Some(TransactionRef { transaction_id: order_id, deadline_unix_ms: 0 });
        let request = RecoverTransactionRequest { transaction, participants: Vec::new() };
        let recovered = client.transactions.clone().recover_transaction(timed(request)).await;
        is_invalid("a transaction to recover", recovered, "transaction.transaction_id");
    }
    let recovered = client.transactions.clone().recover_transaction(timed(RecoverTransactionRequest::default())).await;
    is_invalid("no transaction to recover", recovered, "transaction");
    let nobody = uuid::Uuid::now_v7().to_string();
    is_told("an order nobody placed", &client.order(&nobody).await.unwrap_err(), Code::NotFound, "ORDER_NOT_FOUND");
    let status = client.transaction(&nobody).await.unwrap_err();
    is_told("a transaction nobody began", &status, Code::NotFound, "TRANSACTION_NOT_FOUND");

    let lists = [
        ("state", ListOrdersRequest { state: 99, ..Default::default() }),
        ("state", ListOrdersRequest { state: -1, ..Default::default() }),
        ("page_size", ListOrdersRequest { page_size: -1, ..Default::default() }),
        ("page_token", ListOrdersRequest { page_token: "made-up".to_owned(), ..Default::default() }),
        ("account", ListOrdersRequest { account: "no such name".to_owned(), ..Default::default() }),
    ];
    for (field, request) in lists {
        is_invalid(&format!("{request:?}"), client.list(request).await, field);
    }
    let lists = [
        ("state", ListTransactionsRequest { state: 77, ..Default::default() }),
        ("page_size", ListTransactionsRequest { page_size: -5, ..Default::default() }),
        ("page_token", ListTransactionsRequest { page_token: "made-up".to_owned(), ..Default::default() }),
    ];
    for (field, request) in lists {
        is_invalid(&format!("{request:?}"), client.transactions.clone().list_transactions(timed(request)).await, field);
    }
}

#[tokio::test]
async fn stock_and_accounts_take_only_what_can_be() {
    let system = shared().await;
    let client = shop(&system.client(), "keeper").await;
    let (mut stock, mut accounts) = (client.stock.clone(), client.accounts.clone());
    let keeper = || "keeper".to_owned();
    for on_hand in [-1, i64::MIN, i64::MAX, 1_000_000_000_001] {
        is_invalid(
            "stock",
            stock.set_stock(timed(SetStockRequest { sku: keeper(), on_hand, ..Default::default() })).await,
            "on_hand",
        );
    }
    for sku in ["", "tab\t", "nul\0"] {
        let sku = sku.to_owned();
        is_invalid(
            "a SKU",
            stock.set_stock(timed(SetStockRequest { sku: sku.clone(), on_hand: 1, ..Default::default() })).await,
            "sku",
        );
        is_invalid(
            "a SKU",
            stock.get_stock(timed(GetStockRequest { sku, read_time: None, ..Default::default() })).await,
            "sku",
        );
    }
    let status = stock
        .get_stock(timed(GetStockRequest { sku: "nowhere".to_owned(), read_time: None, ..Default::default() }))
        .await
        .unwrap_err();
    is_told("a SKU nobody stocked", &status, Code::NotFound, "UNKNOWN_SKU");
    let adjust =
        |delta: i64| AdjustStockRequest { sku: keeper(), delta, request_id: String::new(), ..Default::default() };
    for delta in [i64::MIN, i64::MAX] {
        let status = stock.adjust_stock(timed(adjust(delta))).await.unwrap_err();
        assert!(matches!(status.code(), Code::InvalidArgument | Code::OutOfRange), "{status:?}");
    }
    let status = stock.adjust_stock(timed(adjust(-101))).await.unwrap_err();
    is_told("more than is there", &status, Code::FailedPrecondition, "BELOW_HELD");
    let request = ListStockRequest { page_size: -1, page_token: String::new() };
    is_invalid("a page", stock.list_stock(timed(request)).await, "page_size");
    let request = ListMovementsRequest { sku: keeper(), page_size: 1, page_token: "made up".to_owned() };
    is_invalid("a page", stock.list_movements(timed(request)).await, "page_token");
    let request = VerifyStockRequest { page_size: -1, page_token: String::new() };
    is_invalid("a page", stock.verify_stock(timed(request)).await, "page_size");
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (-62_135_596_801, 0)] {
        let request = GetStockRequest {
            sku: keeper(),
            read_time: Some(prost_types::Timestamp { seconds, nanos }),
            ..Default::default()
        };
        is_invalid("a time", stock.get_stock(timed(request)).await, "read_time");
    }

    let open = |account: &str, opening_balance: Option<Money>| OpenAccountRequest {
        account: account.to_owned(),
        opening_balance,
        request_id: String::new(),
    };
    let openings = [
        ("account", open("", Some(gbp(1)))),
        ("account", open("assent:external:GBP", Some(gbp(1)))),
        ("opening_balance", open("newcomer", None)),
        ("opening_balance", open("newcomer", Some(gbp(-1)))),
        ("opening_balance", open("newcomer", money("gbp", 1, 0))),
        ("opening_balance", open("newcomer", money("GBP", i64::MAX, 0))),
    ];
    for (field, request) in openings {
        is_invalid(&format!("{request:?}"), accounts.open_account(timed(request)).await, field);
    }
    let status = accounts.open_account(timed(open("keeper", Some(gbp(5))))).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    let deposit = |amount: Option<Money>| DepositRequest { account: keeper(), amount, request_id: String::new() };
    for amount in [None, Some(gbp(0)), Some(gbp(-1)), money("GBP", 0, 1)] {
        is_invalid("a deposit", accounts.deposit(timed(deposit(amount))).await, "amount");
    }
    let status = accounts.deposit(timed(deposit(money("EUR", 1, 0)))).await.unwrap_err();
    is_told("another currency", &status, Code::FailedPrecondition, "CURRENCY_MISMATCH");
    let status = accounts.deposit(timed(deposit(Some(gbp(i64::MAX))))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let request = GetAccountRequest { account: "nobody-here".to_owned() };
    let status = accounts.get_account(timed(request)).await.unwrap_err();
    is_told("an account nobody opened", &status, Code::NotFound, "UNKNOWN_ACCOUNT");
    let request = ListEntriesRequest { account: keeper(), page_size: 10, page_token: "made-up".to_owned() };
    is_invalid("a page", accounts.list_entries(timed(request)).await, "page_token");
    nothing_came_of_it(&client, "keeper").await;
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn a_message_larger_than_any_order_is_refused_and_the_connection_lives() {
    let system = shared().await;
    let client = shop(&system.client(), "large").await;
    let lines = vec![line(&"x".repeat(20 * 1024 * 1024), 1, Some(gbp(1)))];
    let request = PlaceOrderRequest { lines, ..Basket::of("large").request("large-1") };
    let status = client.orders.clone().place_order(timed(request)).await.unwrap_err();
    is_told("a message of 20 MiB", &status, Code::OutOfRange, "OUT_OF_RANGE");
    let answer = client.place("large-2", &Basket::of("large").line("large", 1, 100)).await;
    assert!(answer.confirmed().is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_method_that_does_not_exist_and_a_message_that_is_none_are_explained_as_well() {
    let system = shared().await;
    for server in system.servers() {
        // OrderStoreService is the order service's own: the coordinator has no such thing, and the others neither.
        let channel = Endpoint::from_shared(server.address()).unwrap().connect().await.unwrap();
        let call = async |path: &'static str, garbage: Vec<u8>| {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<Vec<u8>, ()>::default();
            grpc.unary(Request::new(garbage), PathAndQuery::from_static(path), codec).await.unwrap_err()
        };
        let status = call("/assent.nothing.v1.NothingService/Do", Vec::new()).await;
        is_told("an unknown method", &status, Code::Unimplemented, "UNIMPLEMENTED");
        // A field of bytes where the health service's message has a string that is no UTF-8.
        let status = call("/grpc.health.v1.Health/Check", vec![0xff, 0xfe]).await;
        is_told("garbage", &status, Code::Internal, "INTERNAL");
    }
}

#[tokio::test]
async fn a_client_id_that_can_t_be_is_refused() {
    let system = shared().await;
    let client = shop(&system.client(), "named").await;
    let mut request = timed(Basket::of("named").line("named", 1, 1).request("named-1"));
    request.metadata_mut().insert("assent-client-id", "x".repeat(129).parse().unwrap());
    is_invalid("a client's id", client.orders.clone().place_order(request).await, "assent-client-id");
    nothing_came_of_it(&client, "named").await;
}
