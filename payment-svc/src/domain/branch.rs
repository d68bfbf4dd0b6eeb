//! What a branch or a saga's step does with money.
use uuid::Uuid;

use super::Authorisation;

/// What a branch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// Authorises at PREPARE and captures at COMMIT.
    Charge(Authorisation),
    /// Leaves an authorisation that stands.
    Authorise {
        /// What is held.
        authorisation: Authorisation,
        /// The payment whose authorisation it takes the place of.
        replaces: Option<Uuid>,
    },
    /// Captures a part of an authorisation that stands.
    Capture {
        /// How much of which.
        part: Part,
        /// Whether what it leaves is given back.
        is_final: bool,
    },
    /// Gives back what is left of an authorisation.
    Void {
        /// Which.
        payment_id: Uuid,
        /// Whose it must be, if that was said.
        account: Option<String>,
    },
    /// Gives back what was captured.
    Refund(Part),
}

/// A part of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The payment.
    pub payment_id: Uuid,
    /// Whose it must be, if that was said.
    pub account: Option<String>,
    /// The currency it must be in.
    pub currency: String,
    /// How much, zero or more.
    pub amount_minor: i64,
}

impl Branch {
    /// The payment that it changes, made by another transaction. Refunding nothing changes none: a free order has left none.
    pub fn payment_id(&self) -> Option<Uuid> {
        match self {
            Branch::Charge(_) => None,
            Branch::Authorise { replaces, .. } => *replaces,
            Branch::Capture { part, .. } => Some(part.payment_id),
            Branch::Void { payment_id, .. } => Some(*payment_id),
            Branch::Refund(part) => (part.amount_minor > 0).then_some(part.payment_id),
        }
    }

    /// What it authorises.
    pub fn authorisation(&self) -> Option<&Authorisation> {
        match self {
            Branch::Charge(authorisation) | Branch::Authorise { authorisation, .. } => Some(authorisation),
            _ => None,
        }
    }

    /// What it holds of an account and nothing else, at PREPARE.
    pub fn plain_hold(&self) -> Option<&Authorisation> {
        match self {
            Branch::Charge(authorisation) | Branch::Authorise { authorisation, replaces: None } => Some(authorisation),
            _ => None,
        }
    }

    /// What it charges, if it does nothing but that.
    pub fn charge(&self) -> Option<&Authorisation> {
        match self {
            Branch::Charge(authorisation) => Some(authorisation),
            _ => None,
        }
    }
}
