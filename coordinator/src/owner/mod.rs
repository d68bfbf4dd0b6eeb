//! Drives one attempt: feeds [`protocol::owner::Owner`] with what happened and carries out what it commands.
//!
//! An attempt runs in a task of its own, so that a client that goes away can't cut it off between its durable steps.
mod active;
mod answer;
mod attempt;
pub mod events;
#[cfg(test)]
mod tests;

pub use active::{Active, Attending};
pub use answer::{Answer, is_refused};
pub use attempt::{Attempt, place};
