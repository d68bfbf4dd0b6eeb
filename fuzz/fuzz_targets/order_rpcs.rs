//! Every RPC of the order service: its own and those of a participant.
#![no_main]
use std::cell::RefCell;

use fuzz::rpc::{Face, PARTICIPANT, Rpc};
use participant::testing::face;

const OWN: [Rpc; 2] = fuzz::rpcs!(
    "assent.order.v1.OrderStoreService", proto::assent::order::v1,
    "ReadOrder" => ReadOrderRequest, "ReadOrders" => ReadOrdersRequest,
);

thread_local! {
    static FACE: RefCell<Face> = RefCell::new(Face::new(
        face(order_svc::Orders, order_svc::add_services),
        OWN.into_iter().chain(PARTICIPANT),
    ));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| FACE.with_borrow_mut(|face| face.call(data)));
