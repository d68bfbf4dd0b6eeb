//! A whole system of real processes on real Postgres, for tests: started, loaded, hurt, and asked whether all holds.
//!
//! [`System`] starts the four services, each on a cluster of its own; [`Client`] asks them as a shop does; [`Load`] keeps
//! them busy and remembers every answer; [`Books`] and [`doctor`] say whether every answer was true and every
//! invariant holds.
mod aftermath;
mod answer;
mod basket;
mod books;
mod bystander;
mod client;
mod collected;
mod command;
pub mod doctor;
mod gateway;
mod load;
mod network;
mod programs;
mod scene;
mod server;
mod settled;
mod shared;
mod system;
mod traces;
mod until;
mod verify;

pub use aftermath::Aftermath;
pub use answer::{Answer, error_info};
pub use basket::{Basket, gbp};
pub use books::{BALANCE_MINOR, Books, STOCK};
pub use bystander::bystander;
pub use client::{Client, timed};
pub use command::{Ran, assent};
pub use gateway::{FakeGateway, GatewayPayment};
pub use load::{Load, Request};
pub use network::Network;
pub use programs::program;
pub use scene::{CLIENTS, Scene, confirms};
pub use server::{Server, Service};
pub use shared::{SharedSystem, shared};
pub use system::{SetUp, System};
pub use until::until;
pub use verify::{Check, Verified, restart_command, verify};
