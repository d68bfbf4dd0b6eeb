//! Every RPC of the payment service: its own and those of a participant.
#![no_main]
use std::cell::RefCell;

use fuzz::rpc::{Face, PARTICIPANT, Rpc};
use participant::testing::face;

const OWN: [Rpc; 7] = fuzz::rpcs!(
    "assent.payment.v1.PaymentService", proto::assent::payment::v1,
    "OpenAccount" => OpenAccountRequest, "Deposit" => DepositRequest, "GetAccount" => GetAccountRequest,
    "ListEntries" => ListEntriesRequest, "GetPayment" => GetPaymentRequest, "ListPayments" => ListPaymentsRequest,
    "ListGatewayCalls" => ListGatewayCallsRequest,
);

thread_local! {
    static FACE: RefCell<Face> = RefCell::new(Face::new(
        face(payment_svc::Payments::default(), payment_svc::add_services),
        OWN.into_iter().chain(PARTICIPANT),
    ));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| FACE.with_borrow_mut(|face| face.call(data)));
