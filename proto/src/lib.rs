//! The wire's types, clients and servers, generated from the .proto files beside this crate.
//!
//! Generated types stop at the `grpc/` and `participants/` folders of the services.
#![allow(missing_docs, clippy::all)]

pub mod codec;
pub mod limits;
pub mod money;

/// All files' descriptors, encoded, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Packages of Assent.
pub mod assent {
    /// Orders.
    pub mod order {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("assent.order.v1");
        }
    }
    /// Stock.
    pub mod inventory {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("assent.inventory.v1");
        }
    }
    /// Accounts.
    pub mod payment {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("assent.payment.v1");
        }
    }
    /// Transactions, for operators and participants.
    pub mod transaction {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("assent.transaction.v1");
        }
    }
}

/// Packages of Google that Assent uses.
pub mod google {
    /// Common types.
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}
