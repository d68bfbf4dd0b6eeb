//! The process of the payment service.
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// One thread: the work is moving messages between queues, and a second thread costs more than it brings.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    payment_svc::run().await
}
