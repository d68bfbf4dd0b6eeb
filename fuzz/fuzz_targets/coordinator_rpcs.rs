//! Every RPC of the coordinator.
#![no_main]
use std::cell::RefCell;

use fuzz::rpc::{self, Face, Rpc};

const ORDERS: [Rpc; 3] = fuzz::rpcs!(
    "assent.order.v1.OrderService", proto::assent::order::v1,
    "PlaceOrder" => PlaceOrderRequest, "GetOrder" => GetOrderRequest, "ListOrders" => ListOrdersRequest,
);
const TRANSACTIONS: [Rpc; 8] = fuzz::rpcs!(
    "assent.transaction.v1.CoordinatorService", proto::assent::transaction::v1,
    "GetTransaction" => GetTransactionRequest, "ListTransactions" => ListTransactionsRequest,
    "RecoverTransaction" => RecoverTransactionRequest, "ExecuteTransaction" => ExecuteTransactionRequest,
    "PauseSaga" => PauseSagaRequest, "ResumeSaga" => ResumeSagaRequest, "CancelSaga" => CancelSagaRequest,
    "AuditRecords" => AuditRecordsRequest,
);

thread_local! {
    static FACE: RefCell<Face> =
        RefCell::new(Face::new(rpc::coordinator(), ORDERS.into_iter().chain(TRANSACTIONS)));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| FACE.with_borrow_mut(|face| face.call(data)));
