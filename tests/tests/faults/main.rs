//! Faults under load: what hurts a system in production, how long clients wait meanwhile, and what must be true after.
mod collection;
mod coordinators;
mod databases;
mod participants;
mod restarts;
