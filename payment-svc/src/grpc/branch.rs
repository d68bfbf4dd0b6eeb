//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::payment::v1::PaymentBranch;
use proto::limits;

use crate::domain::Authorisation;

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Authorisation, InvalidBranch> {
    let invalid = |field: &str, description: String| InvalidBranch { field: field.to_owned(), description };
    let branch = PaymentBranch::decode(bytes)
        .map_err(|error| invalid("branch", format!("is no assent.payment.v1.PaymentBranch: {error}")))?;
    limits::check_account(&branch.account).map_err(|wrong| invalid("branch.account", wrong))?;
    let amount = branch.amount.ok_or_else(|| invalid("branch.amount", "is missing".to_owned()))?;
    let amount_minor = amount.to_minor().map_err(|error| invalid("branch.amount", error.to_string()))?;
    if amount_minor < 0 {
        return Err(invalid("branch.amount", "must be zero or more".to_owned()));
    }
    Ok(Authorisation { account: branch.account, currency: amount.currency_code, amount_minor })
}
