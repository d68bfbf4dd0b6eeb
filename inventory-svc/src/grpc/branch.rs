//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::inventory::v1::InventoryBranch;

use crate::domain::{Holds, MAX_LINES, MAX_QUANTITY, check_range, check_sku};

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Holds, InvalidBranch> {
    let invalid = |field: &str, description: String| InvalidBranch { field: field.to_owned(), description };
    let branch = InventoryBranch::decode(bytes)
        .map_err(|error| invalid("branch", format!("is no assent.inventory.v1.InventoryBranch: {error}")))?;
    let count = branch.lines.len();
    if !(1..=MAX_LINES).contains(&count) {
        return Err(invalid("branch.lines", format!("must be 1 to {MAX_LINES}, not {count}")));
    }
    for (place, line) in branch.lines.iter().enumerate() {
        check_sku(&line.sku).map_err(|wrong| invalid(&format!("branch.lines[{place}].sku"), wrong))?;
        check_range(line.quantity, 1, MAX_QUANTITY)
            .map_err(|wrong| invalid(&format!("branch.lines[{place}].quantity"), wrong))?;
    }
    Ok(Holds::sum(branch.lines.into_iter().map(|line| (line.sku, line.quantity))))
}
