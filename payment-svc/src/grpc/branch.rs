//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::payment::v1::{PaymentBranch, PaymentOperation};
use proto::google::r#type::Money;
use proto::limits;
use uuid::Uuid;

use crate::domain::{Authorisation, Branch, Part};

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Branch, InvalidBranch> {
    let branch = PaymentBranch::decode(bytes)
        .map_err(|error| invalid("branch", format!("is no assent.payment.v1.PaymentBranch: {error}")))?;
    let operation = PaymentOperation::try_from(branch.operation)
        .map_err(|_| invalid("branch.operation", format!("{} is not known here", branch.operation)))?;
    match operation {
        PaymentOperation::Unspecified | PaymentOperation::Charge => {
            unused(&branch, &["payment_id", "replaces", "final_capture"])?;
            Ok(Branch::Charge(authorisation(branch)?))
        }
        PaymentOperation::Authorise => {
            unused(&branch, &["payment_id", "final_capture"])?;
            let replaces = match branch.replaces.as_str() {
                "" => None,
                id => Some(payment("branch.replaces", id)?),
            };
            Ok(Branch::Authorise { authorisation: authorisation(branch)?, replaces })
        }
        PaymentOperation::Capture => {
            unused(&branch, &["replaces"])?;
            let is_final = branch.final_capture;
            Ok(Branch::Capture { part: part(branch)?, is_final })
        }
        PaymentOperation::Void => {
            unused(&branch, &["replaces", "final_capture", "amount"])?;
            let payment_id = payment("branch.payment_id", &branch.payment_id)?;
            Ok(Branch::Void { payment_id, account: payer(branch.account)? })
        }
        PaymentOperation::Refund => {
            unused(&branch, &["replaces", "final_capture"])?;
            Ok(Branch::Refund(part(branch)?))
        }
    }
}

fn invalid(field: &str, description: impl Into<String>) -> InvalidBranch {
    InvalidBranch { field: field.to_owned(), description: description.into() }
}

/// What would be silently left out is refused.
fn unused(branch: &PaymentBranch, fields: &[&str]) -> Result<(), InvalidBranch> {
    let is_set = |field: &&&str| match **field {
        "payment_id" => !branch.payment_id.is_empty(),
        "replaces" => !branch.replaces.is_empty(),
        "final_capture" => branch.final_capture,
        _ => branch.amount.is_some(),
    };
    match fields.iter().find(is_set) {
        Some(field) => Err(invalid(&format!("branch.{field}"), "is not for this operation")),
        None => Ok(()),
    }
}

fn authorisation(branch: PaymentBranch) -> Result<Authorisation, InvalidBranch> {
    limits::check_account(&branch.account).map_err(|wrong| invalid("branch.account", wrong))?;
    let (currency, amount_minor) = amount(branch.amount)?;
    Ok(Authorisation { account: branch.account, currency, amount_minor })
}

fn part(branch: PaymentBranch) -> Result<Part, InvalidBranch> {
    let payment_id = payment("branch.payment_id", &branch.payment_id)?;
    let (currency, amount_minor) = amount(branch.amount)?;
    Ok(Part { payment_id, account: payer(branch.account)?, currency, amount_minor })
}

fn payer(account: String) -> Result<Option<String>, InvalidBranch> {
    if account.is_empty() {
        return Ok(None);
    }
    limits::check_account(&account).map_err(|wrong| invalid("branch.account", wrong))?;
    Ok(Some(account))
}

fn payment(field: &str, id: &str) -> Result<Uuid, InvalidBranch> {
    Uuid::try_parse(id).map_err(|_| invalid(field, "is no id of a payment: the UUID of the transaction that made it"))
}

fn amount(amount: Option<Money>) -> Result<(String, i64), InvalidBranch> {
    let amount = amount.ok_or_else(|| invalid("branch.amount", "is missing"))?;
    let amount_minor = amount.to_minor().map_err(|error| invalid("branch.amount", error.to_string()))?;
    if amount_minor < 0 {
        return Err(invalid("branch.amount", "must be zero or more"));
    }
    Ok((amount.currency_code, amount_minor))
}
