//! Compiles the .proto files without protoc: protox parses them, tonic generates the code.
use std::path::PathBuf;

use prost::Message;

const FILES: &[&str] = &[
    "assent/transaction/v1/participant.proto",
    "assent/transaction/v1/coordinator.proto",
    "assent/order/v1/order.proto",
    "assent/order/v1/store.proto",
    "assent/inventory/v1/feed.proto",
    "assent/order/v1/allotment.proto",
    "assent/inventory/v1/inventory.proto",
    "assent/inventory/v1/backorder.proto",
    "assent/inventory/v1/location.proto",
    "assent/inventory/v1/reads.proto",
    "assent/inventory/v1/reservation.proto",
    "assent/inventory/v1/sales.proto",
    "assent/inventory/v1/waitlist.proto",
    "assent/payment/v1/payment.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in ["assent", "google"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // A participant that takes no part in sagas leaves their RPCs out.
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(descriptors)?;
    Ok(())
}
