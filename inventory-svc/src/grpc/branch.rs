//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::inventory::v1::{self as api, BackorderMode, InventoryBranch};
use proto::limits;
use uuid::Uuid;

use crate::domain::{Allowed, Holds, PutBack};

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Holds, InvalidBranch> {
    let invalid = |field: &str, description: String| InvalidBranch { field: field.to_owned(), description };
    let branch = InventoryBranch::decode(bytes)
        .map_err(|error| invalid("branch", format!("is no assent.inventory.v1.InventoryBranch: {error}")))?;
    if let Some(put_back) = branch.put_back {
        return match branch.lines.is_empty() && branch.reservation_ids.is_empty() {
            true => read_put_back(put_back).map(Holds::of_put_back),
            false => Err(invalid("branch.put_back", "can't be beside lines or reservations".to_owned())),
        };
    }
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
    let allowed = match BackorderMode::try_from(branch.backorder) {
        Ok(BackorderMode::Unspecified) => Allowed::Nothing,
        Ok(BackorderMode::Whole) => Allowed::Whole,
        Ok(BackorderMode::Partial) => Allowed::Partial,
        Err(_) => return Err(invalid("branch.backorder", format!("{} is no mode", branch.backorder))),
    };
    Ok(holds.of_reservations(reservation_ids).allowing(allowed))
}

fn read_put_back(put_back: api::PutBack) -> Result<PutBack, InvalidBranch> {
    let invalid = |field: String, description: String| InvalidBranch { field, description };
    let api::PutBack { order_id, lines, cancelled } = put_back;
    let order_id = Uuid::parse_str(&order_id)
        .map_err(|_| invalid("branch.put_back.order_id".to_owned(), "is no id of an order".to_owned()))?;
    // A line of an order may come back in both states.
    if !(1..=2 * limits::MAX_LINES).contains(&lines.len()) {
        let wrong = format!("must be 1 to {}, not {}", 2 * limits::MAX_LINES, lines.len());
        return Err(invalid("branch.put_back.lines".to_owned(), wrong));
    }
    for (place, line) in lines.iter().enumerate() {
        let at = |field: &str| format!("branch.put_back.lines[{place}].{field}");
        limits::check_sku(&line.sku).map_err(|wrong| invalid(at("sku"), wrong))?;
        // Lines of one SKU may have been summed.
        let most = limits::MAX_QUANTITY * i64::try_from(limits::MAX_LINES).unwrap_or(1);
        if !(1..=most).contains(&line.quantity) {
            return Err(invalid(at("quantity"), format!("must be from 1 to {most}, not {}", line.quantity)));
        }
    }
    let (damaged, sellable): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.damaged);
    let sum = |lines: Vec<api::PutBackLine>| {
        let summed = Holds::sum(lines.into_iter().map(|line| (line.sku, line.quantity)));
        summed.iter().map(|(sku, quantity)| (sku.to_owned(), quantity)).collect()
    };
    Ok(PutBack { order_id, sellable: sum(sellable), damaged: sum(damaged), cancelled })
}
