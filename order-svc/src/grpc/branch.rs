//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::order::v1::OrderBranch;
use proto::google::r#type::Money;

use crate::domain::{self, Line, NewOrder};

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<NewOrder, InvalidBranch> {
    let branch = OrderBranch::decode(bytes).map_err(|error| InvalidBranch {
        field: "branch".to_owned(),
        description: format!("is no assent.order.v1.OrderBranch: {error}"),
    })?;
    let (currency, total_minor) = amount("total", branch.total)?;
    let mut lines = Vec::with_capacity(branch.lines.len());
    for (place, line) in branch.lines.into_iter().enumerate() {
        let field = format!("lines[{place}].unit_price");
        let (of_line, unit_price_minor) = amount(&field, line.unit_price)?;
        if of_line != currency {
            return Err(invalid(&field, format!("is in {of_line}, but the total is in {currency}")));
        }
        lines.push(Line { sku: line.sku, quantity: line.quantity, unit_price_minor });
    }
    let order = NewOrder { account: branch.account, request_id: branch.request_id, currency, lines, total_minor };
    domain::check(&order).map_err(|(field, wrong)| invalid(&field, wrong))?;
    Ok(order)
}

fn invalid(field: &str, description: String) -> InvalidBranch {
    InvalidBranch { field: format!("branch.{field}"), description }
}

fn amount(field: &str, money: Option<Money>) -> Result<(String, i64), InvalidBranch> {
    let money = money.ok_or_else(|| invalid(field, "is missing".to_owned()))?;
    let minor = money.to_minor().map_err(|error| invalid(field, error.to_string()))?;
    Ok((money.currency_code, minor))
}
