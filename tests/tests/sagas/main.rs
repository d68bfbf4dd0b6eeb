//! Orders as sagas, on real processes that die, sleep and come back.
mod coordinators;
mod generic;
mod hybrid;
mod operators;
mod participants;
mod steps;
mod stuck;
