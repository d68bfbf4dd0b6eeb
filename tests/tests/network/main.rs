//! Faults of the network between real processes, and to their databases: see [`Network`](tests::Network).
mod commits;
mod one_way;
mod partitions;
mod silent;
mod slow;
