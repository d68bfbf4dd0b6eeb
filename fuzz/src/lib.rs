//! What the fuzz targets share: services that are called as over the network, and generators of what goes in.
pub mod orders;
pub mod rpc;
