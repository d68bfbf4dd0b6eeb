//! Faults under load: what hurts a system in production, how long clients wait meanwhile, and what must be true after.
mod collection;
mod connections;
mod coordinators;
mod databases;
mod disks;
mod participants;
mod poison;
mod restarts;
