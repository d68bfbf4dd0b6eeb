//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::inventory::v1::InventoryBranch;
use proto::limits;
use uuid::Uuid;

use crate::domain::Holds;

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Holds, InvalidBranch> {
    let invalid = |field: &str, description: String| InvalidBranch { field: field.to_owned(), description };
    let branch = InventoryBranch::decode(bytes)
        .map_err(|error| invalid("branch", format!("is no assent.inventory.v1.InventoryBranch: {error}")))?;
    limits::check_line_count(branch.lines.len()).map_err(|wrong| invalid("branch.lines", wrong))?;
    for (place, line) in branch.lines.iter().enumerate() {
        limits::check_sku(&line.sku).map_err(|wrong| invalid(&format!("branch.lines[{place}].sku"), wrong))?;
        limits::check_quantity(line.quantity)
            .map_err(|wrong| invalid(&format!("branch.lines[{place}].quantity"), wrong))?;
    }
    limits::check_reservation_count(branch.reservation_ids.len())
        .map_err(|wrong| invalid("branch.reservation_ids", wrong))?;
    let mut reservation_ids = Vec::with_capacity(branch.reservation_ids.len());
    for (place, text) in branch.reservation_ids.iter().enumerate() {
        let wrong = |what: &str| invalid(&format!("branch.reservation_ids[{place}]"), what.to_owned());
        let id = Uuid::parse_str(text).map_err(|_| wrong("is no id of a reservation"))?;
        if reservation_ids.contains(&id) {
            return Err(wrong("is named twice"));
        }
        reservation_ids.push(id);
    }
    let holds = Holds::sum(branch.lines.into_iter().map(|line| (line.sku, line.quantity)));
    Ok(holds.of_reservations(reservation_ids))
}
