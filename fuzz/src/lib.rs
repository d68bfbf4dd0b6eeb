//! What the fuzz targets share: services that are called as over the network, generators of what goes in, and amounts
//! reckoned another way.
pub mod amounts;
pub mod orders;
pub mod rpc;
