//! The model checker: every interleaving of the *production* machines of `protocol`, under every fault we know of.
//!
//! - [`config`]: how many attempts, participants and recoveries, and which faults may happen.
//! - [`model`]: the world around the machines (databases, network, crashes), as a `stateright` model.
//! - [`invariants`]: what must hold in every reachable state, one file each, by the names of the design.
//! - [`saga`]: the same for sagas: a world, its invariants and its mutants of their own.
//! - [`mutant`]: known ways of getting the protocol wrong, put around the machines, never into them. Each has to be
//!   caught; that is how we know that the model could have found a mistake.
//!
//! The services drive the same machines. What differs here is only that transport and storage are as hostile as their
//! contracts allow, and that clocks may say anything at any time: they decide when, never what.
pub mod cluster;
pub mod config;
pub mod invariants;
pub mod model;
pub mod mutant;
pub mod saga;
