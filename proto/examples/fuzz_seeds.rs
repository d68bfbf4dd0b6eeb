//! Writes a few inputs for each fuzz target into `FOLDER/TARGET/`: a good request of every RPC, and texts of every kind
//! that is read. What the fuzzer makes of them is kept beside them and is no part of the source.
use std::path::{Path, PathBuf};

use prost::Message;
use proto::assent::inventory::v1::*;
use proto::assent::order::v1::*;
use proto::assent::payment::v1::*;
use proto::assent::transaction::v1::*;
use proto::google::r#type::Money;

const ID: &str = "01890f5c-9d3e-7cc1-98c4-dc0c0c07398f";
/// Hexadecimal of "stock", the separator and "A".
const TOKEN: &str = "73746f636b1f41";

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("say into which folder"))?;
    write_rpcs(&folder.join("inventory_rpcs"), inventory().iter().chain(&participant(stock_branch())))?;
    write_rpcs(&folder.join("order_rpcs"), orders().iter().chain(&participant(order_branch())))?;
    write_rpcs(&folder.join("payment_rpcs"), payment().iter().chain(&participant(payment_branch())))?;
    write_rpcs(&folder.join("coordinator_rpcs"), coordinator().iter())?;
    let branches = [
        (0, stock_branch()),
        (1, order_branch()),
        (1, overflowing_order_branch()),
        (2, payment_branch()),
        (2, refund_branch()),
    ];
    write(&folder.join("branches"), branches.map(|(participant, branch)| [vec![participant], branch].concat()))?;
    let random = || (0..8_u32).map(|seed| scattered(seed, 1 << (5 + seed % 6)));
    for target in ["place_order", "money"] {
        write(&folder.join(target), random())?;
    }
    let rows = [
        r#"{"reason":"OUT_OF_STOCK","message":"2 of A were asked for","metadata":{"sku":"A"}}"#,
        r#"[["A",1,150],["B ü",1000000000,0]]"#,
        "inventory,order,payment",
    ];
    write(&folder.join("stored_rows"), rows.map(Vec::from).into_iter().chain(random()))?;
    let names = ["customer-1", "85123A", "shop:2026/11-24_1.a", "assent:revenue:GBP", ID, TOKEN];
    write(&folder.join("names_and_pages"), names.map(Vec::from).into_iter().chain(random()))?;
    write(&folder.join("cli_lines"), ["85123A:6@2.55", "a:b@c:1@0", "B:1000000000@0.001"].map(Vec::from))?;
    write(&folder.join("cli_invoices"), [FILE, OTHER_FILE].map(Vec::from))
}

const FILE: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
536365,85123A,HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom\n\
536365,POST,POSTAGE,1,12/1/2010 8:26,18,17850,United Kingdom\n\
C536379,D,Discount,-1,12/1/2010 9:41,27.5,14527,United Kingdom\n\
536370,22728,\"CLOCK, \"\"RED\"\"\",24,12/1/2010 8:45,0,,France\n";
const OTHER_FILE: &str =
    "Invoice,StockCode,Quantity,Price,Customer ID\r\n489434,85048,12,6.95,13085.0\r\n,,,,\r\n1,A\r\n";

fn write(folder: &Path, inputs: impl IntoIterator<Item = Vec<u8>>) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, input) in inputs.into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:02}")), input)?;
    }
    Ok(())
}

/// Which RPC, then how long the client's name is, that name, and the request.
fn write_rpcs<'a>(folder: &Path, requests: impl Iterator<Item = &'a Vec<u8>>) -> std::io::Result<()> {
    let requests: Vec<&[u8]> = requests.map(Vec::as_slice).collect();
    let call = |(rpc, request): (u8, &&[u8])| [&[rpc, 4], b"shop".as_slice(), request].concat();
    // The same with a text, as the first field, that is longer than any answer may be.
    let long = GetBranchRequest { transaction_id: "\u{1}".repeat(3_500) }.encode_to_vec();
    let longer = |(rpc, request): (u8, &&[u8])| [&call((rpc, request)), long.as_slice()].concat();
    write(folder, (0..).zip(&requests).map(call).chain((0..).zip(&requests).map(longer)))
}

/// Bytes without an order, the same every time.
fn scattered(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

fn pounds(units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: "GBP".to_owned(), units, nanos })
}

fn order_lines() -> Vec<OrderLine> {
    vec![OrderLine { sku: "A".to_owned(), quantity: 2, unit_price: pounds(2, 550_000_000), ..OrderLine::default() }]
}

fn stock_branch() -> Vec<u8> {
    InventoryBranch {
        lines: vec![StockLine { sku: "A".to_owned(), quantity: 2 }; 2],
        reservation_ids: vec![ID.to_owned()],
        ..InventoryBranch::default()
    }
    .encode_to_vec()
}

fn order_branch() -> Vec<u8> {
    let (account, request_id) = ("alice".to_owned(), "shop/1".to_owned());
    OrderBranch { account, request_id, lines: order_lines(), total: pounds(5, 100_000_000), ..OrderBranch::default() }
        .encode_to_vec()
}

/// Costs 2^64 minor units, and says that it costs what 64 bits keep of that.
fn overflowing_order_branch() -> Vec<u8> {
    let unit_price = pounds(46_116_860_184_273_879, 40_000_000);
    let lines = vec![OrderLine { sku: "A".to_owned(), quantity: 4, unit_price, ..OrderLine::default() }];
    let (account, request_id) = ("alice".to_owned(), "shop/1".to_owned());
    OrderBranch { account, request_id, lines, total: pounds(0, 0), ..OrderBranch::default() }.encode_to_vec()
}

fn refund_branch() -> Vec<u8> {
    PaymentBranch {
        amount: pounds(5, 100_000_000),
        operation: PaymentOperation::Refund.into(),
        payment_id: ID.to_owned(),
        ..Default::default()
    }
    .encode_to_vec()
}

fn payment_branch() -> Vec<u8> {
    PaymentBranch { account: "alice".to_owned(), amount: pounds(5, 100_000_000), ..Default::default() }.encode_to_vec()
}

fn transaction() -> Option<TransactionRef> {
    Some(TransactionRef { transaction_id: ID.to_owned(), deadline_unix_ms: 1_700_000_000_000 })
}

fn inventory() -> Vec<Vec<u8>> {
    let sku = || "A".to_owned();
    vec![
        SetStockRequest { sku: sku(), on_hand: 7, ..Default::default() }.encode_to_vec(),
        AdjustStockRequest { sku: sku(), delta: -2, request_id: "r".to_owned(), ..Default::default() }.encode_to_vec(),
        GetStockRequest {
            sku: sku(),
            read_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..Default::default()
        }
        .encode_to_vec(),
        ListStockRequest { page_size: 3, page_token: TOKEN.to_owned() }.encode_to_vec(),
        ListMovementsRequest { sku: sku(), page_size: 3, page_token: String::new() }.encode_to_vec(),
        VerifyStockRequest { page_size: 3, page_token: String::new() }.encode_to_vec(),
        SetBufferRequest { sku: sku(), buffer: 4 }.encode_to_vec(),
        MoveStockRequest { sku: sku(), from: 1, to: 3, quantity: 2, request_id: "r".to_owned(), ..Default::default() }
            .encode_to_vec(),
        CreateReservationRequest {
            customer: "alice".to_owned(),
            lines: vec![ReservationLine { sku: sku(), quantity: 2 }; 2],
            ttl_ms: 60_000,
            request_id: "r".to_owned(),
        }
        .encode_to_vec(),
        ExtendReservationRequest { reservation_id: ID.to_owned(), ttl_ms: 60_000 }.encode_to_vec(),
        ReleaseReservationRequest { reservation_id: ID.to_owned() }.encode_to_vec(),
        GetReservationRequest { reservation_id: ID.to_owned() }.encode_to_vec(),
        SetReservationPolicyRequest { sku: sku(), ttl_ms: 60_000, max_per_customer: 9, offer_ttl_ms: 60_000 }
            .encode_to_vec(),
        JoinWaitlistRequest { sku: sku(), quantity: 2, customer: "alice".to_owned(), ..Default::default() }
            .encode_to_vec(),
        SetLocationRequest { location: "east".to_owned(), priority: 1 }.encode_to_vec(),
        GetLocationStockRequest { sku: sku() }.encode_to_vec(),
        TransferStockRequest {
            sku: sku(),
            quantity: 2,
            from: "main".to_owned(),
            to: "east".to_owned(),
            request_id: "r".to_owned(),
        }
        .encode_to_vec(),
        GetAllocationRequest { order_id: ID.to_owned() }.encode_to_vec(),
        LeaveWaitlistRequest { entry_id: ID.to_owned() }.encode_to_vec(),
        GetWaitlistEntryRequest { entry_id: ID.to_owned() }.encode_to_vec(),
        ListWaitlistRequest { sku: sku(), page_size: 3, ..Default::default() }.encode_to_vec(),
    ]
}

fn orders() -> Vec<Vec<u8>> {
    let page_token = String::new();
    vec![
        ReadOrderRequest { order_id: ID.to_owned() }.encode_to_vec(),
        ReadOrdersRequest { page_size: 3, page_token, state: 1, account: "alice".to_owned(), changing: false }
            .encode_to_vec(),
    ]
}

fn payment() -> Vec<Vec<u8>> {
    let (account, request_id) = (|| "alice".to_owned(), || "r".to_owned());
    vec![
        OpenAccountRequest { account: account(), opening_balance: pounds(9, 0), request_id: request_id() }
            .encode_to_vec(),
        DepositRequest { account: account(), amount: pounds(0, 10_000_000), request_id: request_id() }.encode_to_vec(),
        GetAccountRequest { account: "assent:revenue:GBP".to_owned() }.encode_to_vec(),
        ListEntriesRequest { account: account(), page_size: 3, page_token: String::new() }.encode_to_vec(),
        GetPaymentRequest { payment_id: ID.to_owned() }.encode_to_vec(),
        ListPaymentsRequest { account: account(), page_size: 3, page_token: String::new() }.encode_to_vec(),
    ]
}

fn coordinator() -> Vec<Vec<u8>> {
    let (page_token, participants) = (String::new, vec!["inventory".to_owned()]);
    vec![
        PlaceOrderRequest {
            request_id: "shop/1".to_owned(),
            account: "alice".to_owned(),
            lines: order_lines(),
            timeout_ms: 500,
            mode: 1,
            allow_backorder: 1,
            reservation_ids: vec![ID.to_owned()],
            shipping: b"london 2".to_vec(),
        }
        .encode_to_vec(),
        GetOrderRequest { order_id: ID.to_owned() }.encode_to_vec(),
        ListOrdersRequest { page_size: 3, page_token: page_token(), state: 2, account: "alice".to_owned() }
            .encode_to_vec(),
        GetTransactionRequest { transaction_id: ID.to_owned() }.encode_to_vec(),
        ListTransactionsRequest { state: 1, stuck: true, page_size: 3, page_token: ID.to_owned() }.encode_to_vec(),
        RecoverTransactionRequest { transaction: transaction(), participants }.encode_to_vec(),
    ]
}

fn participant(branch: Vec<u8>) -> Vec<Vec<u8>> {
    let refusal = Refusal {
        reason: "OUT_OF_STOCK".to_owned(),
        message: "2 of A were asked for".to_owned(),
        metadata: [("sku".to_owned(), "A".to_owned())].into(),
    };
    let prepare = PrepareBranch {
        transaction: transaction(),
        participants: ["inventory", "order", "payment"].map(str::to_owned).into(),
        owner_id: "owner".to_owned(),
        branch,
    };
    let transactions = || vec![transaction().unwrap_or_default(); 2];
    vec![
        PrepareRequest { branches: vec![prepare] }.encode_to_vec(),
        CommitRequest { transactions: transactions(), durable: true }.encode_to_vec(),
        AbortRequest { branches: vec![AbortBranch { transaction: transaction(), refusal: Some(refusal) }] }
            .encode_to_vec(),
        FenceRequest { transactions: transactions() }.encode_to_vec(),
        EndRequest { transactions: transactions() }.encode_to_vec(),
        GetBranchRequest { transaction_id: ID.to_owned() }.encode_to_vec(),
        ListBranchesRequest { state: 1, page_size: 3, page_token: String::new() }.encode_to_vec(),
        AuditRequest {}.encode_to_vec(),
    ]
}
