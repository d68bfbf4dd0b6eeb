//! Every RPC of the inventory service: its own and those of a participant.
#![no_main]
use std::cell::RefCell;

use fuzz::rpc::{Face, PARTICIPANT, Rpc};
use participant::testing::face;

const OWN: [Rpc; 12] = fuzz::rpcs!(
    "assent.inventory.v1.InventoryService", proto::assent::inventory::v1,
    "SetStock" => SetStockRequest, "AdjustStock" => AdjustStockRequest, "GetStock" => GetStockRequest,
    "ListStock" => ListStockRequest, "ListMovements" => ListMovementsRequest, "VerifyStock" => VerifyStockRequest,
    "SetBuffer" => SetBufferRequest, "MoveStock" => MoveStockRequest, "GetStockFeed" => GetStockFeedRequest,
    "ListSales" => ListSalesRequest, "BatchGetStock" => BatchGetStockRequest, "SetLowStockThreshold" => SetLowStockThresholdRequest,
);
const RESERVATIONS: [Rpc; 5] = fuzz::rpcs!(
    "assent.inventory.v1.ReservationService", proto::assent::inventory::v1,
    "CreateReservation" => CreateReservationRequest, "ExtendReservation" => ExtendReservationRequest,
    "ReleaseReservation" => ReleaseReservationRequest, "GetReservation" => GetReservationRequest,
    "SetReservationPolicy" => SetReservationPolicyRequest,
);
const WAITLIST: [Rpc; 4] = fuzz::rpcs!(
    "assent.inventory.v1.WaitlistService", proto::assent::inventory::v1,
    "JoinWaitlist" => JoinWaitlistRequest, "LeaveWaitlist" => LeaveWaitlistRequest,
    "GetWaitlistEntry" => GetWaitlistEntryRequest, "ListWaitlist" => ListWaitlistRequest,
);
const LOCATIONS: [Rpc; 5] = fuzz::rpcs!(
    "assent.inventory.v1.LocationService", proto::assent::inventory::v1,
    "SetLocation" => SetLocationRequest, "ListLocations" => ListLocationsRequest,
    "GetLocationStock" => GetLocationStockRequest, "TransferStock" => TransferStockRequest,
    "GetAllocation" => GetAllocationRequest,
);

thread_local! {
    static FACE: RefCell<Face> = RefCell::new(Face::new(
        face(inventory_svc::Inventory::default(), inventory_svc::add_services),
        OWN.into_iter().chain(RESERVATIONS).chain(WAITLIST).chain(LOCATIONS).chain(PARTICIPANT),
    ));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| FACE.with_borrow_mut(|face| face.call(data)));
