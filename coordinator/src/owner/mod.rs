//! Drives attempts: feeds [`protocol::owner::Owner`] with what happened and carries out what it commands.
mod active;
mod answer;
mod attempt;
mod driver;
pub mod events;
mod staging;
#[cfg(test)]
mod tests;

pub use active::{Active, Attending};
pub use answer::{Answer, is_refused};
pub use attempt::{Request, place};
pub use driver::Driver;
pub use staging::StagingLane;
