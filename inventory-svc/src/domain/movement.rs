//! Movements: what can happen to the stock of a SKU, and what each makes of it.
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// So many came.
    Received,
    /// So many are kept aside for a transaction in doubt.
    Held,
    /// So many that were held have left.
    Sold,
    /// So many are held no longer.
    Released,
    /// So many were found to be more, or fewer.
    Adjusted,
    /// So many were counted: that is what is on hand, whatever was before.
    Counted,
    /// So many were there when the ledger began; what was held then is brought along.
    Opened,
    /// So many that were sold have come back.
    Returned,
    /// So many were found damaged; they are on hand no longer. Fewer than none: they are again.
    Damaged,
    /// So many were set aside for quality control; they are on hand no longer. Fewer than none: they passed, and are again.
    Inspected,
    /// So many did not pass quality control, and are damaged. Fewer than none: they are in quality control again.
    Failed,
    /// So many that were damaged are gone.
    WrittenOff,
    /// So many are to be on hand without being sold.
    Buffered,
    /// So many are kept aside for a reservation.
    Reserved,
    /// So many are kept aside for a reservation no longer.
    Unreserved,
    /// So many of a reservation are kept aside for a transaction in doubt instead.
    Claimed,
    /// So many that a transaction had claimed are those of the reservation again.
    Unclaimed,
    /// So many have left a location for another; the SKU has as many as before.
    TransferredOut,
    /// So many have come to a location from another.
    TransferredIn,
    /// So many that were sold are on hand again: their order was cancelled before they had left.
    Cancelled,
    /// So many that were sold are on hand again: a customer returned them.
    ReturnedByCustomer,
    /// So many that were sold came back from a customer, damaged.
    ReturnedDamaged,
    /// So many have gone to an order that waited for them.
    Allotted,
}

/// What is there of a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// What is there, held or not.
    pub on_hand: i64,
    /// What orders in doubt hold.
    pub held: i64,
    /// What reservations hold.
    pub reserved: i64,
    /// What is not to be sold of what is on hand.
    pub buffer: i64,
    /// What is damaged; not on hand.
    pub damaged: i64,
    /// What is in quality control; not on hand.
    pub quality_control: i64,
}

impl Balance {
    /// What can be sold; less than none where the buffer was raised above what is left.
    pub fn available(self) -> i64 {
        self.on_hand.saturating_sub(self.held).saturating_sub(self.reserved).saturating_sub(self.buffer)
    }

    /// Whether it is more than what is on hand and what is held of it.
    pub fn is_more_than_held(self) -> bool {
        [self.reserved, self.buffer, self.damaged, self.quality_control] != [0; 4]
    }
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Received => "received",
            Kind::Held => "held",
            Kind::Sold => "sold",
            Kind::Released => "released",
            Kind::Adjusted => "adjusted",
            Kind::Counted => "counted",
            Kind::Opened => "opened",
            Kind::Damaged => "damaged",
            Kind::Inspected => "inspected",
            Kind::Failed => "failed",
            Kind::WrittenOff => "written_off",
            Kind::Buffered => "buffered",
            Kind::Reserved => "reserved",
            Kind::Unreserved => "unreserved",
            Kind::Claimed => "claimed",
            Kind::Unclaimed => "unclaimed",
            Kind::Returned => "returned",
            Kind::TransferredOut => "transferred_out",
            Kind::TransferredIn => "transferred_in",
            Kind::Cancelled => "cancelled",
            Kind::ReturnedByCustomer => "returned_by_customer",
            Kind::ReturnedDamaged => "returned_damaged",
            Kind::Allotted => "allotted",
        }
    }

    /// What a movement of so many makes of what was there; none if that is beyond all bounds.
    pub fn apply(self, quantity: i64, before: Balance) -> Option<Balance> {
        let add = |figure: i64| figure.checked_add(quantity);
        let take = |figure: i64| figure.checked_sub(quantity);
        let Balance { on_hand, held, reserved, damaged, quality_control, .. } = before;
        Some(match self {
            Kind::Received | Kind::Adjusted | Kind::Returned | Kind::Cancelled | Kind::ReturnedByCustomer => {
                Balance { on_hand: add(on_hand)?, ..before }
            }
            Kind::ReturnedDamaged => Balance { damaged: add(damaged)?, ..before },
            Kind::TransferredOut | Kind::TransferredIn => before,
            Kind::Allotted => Balance { on_hand: take(on_hand)?, ..before },
            Kind::Held => Balance { held: add(held)?, ..before },
            Kind::Sold => Balance { on_hand: take(on_hand)?, held: take(held)?, ..before },
            Kind::Released => Balance { held: take(held)?, ..before },
            Kind::Counted | Kind::Opened => Balance { on_hand: quantity, ..before },
            Kind::Damaged => Balance { on_hand: take(on_hand)?, damaged: add(damaged)?, ..before },
            Kind::Inspected => Balance { on_hand: take(on_hand)?, quality_control: add(quality_control)?, ..before },
            Kind::Failed => Balance { quality_control: take(quality_control)?, damaged: add(damaged)?, ..before },
            Kind::WrittenOff => Balance { damaged: take(damaged)?, ..before },
            Kind::Buffered => Balance { buffer: quantity, ..before },
            Kind::Reserved => Balance { reserved: add(reserved)?, ..before },
            Kind::Unreserved => Balance { reserved: take(reserved)?, ..before },
            Kind::Claimed => Balance { reserved: take(reserved)?, held: add(held)?, ..before },
            Kind::Unclaimed => Balance { held: take(held)?, reserved: add(reserved)?, ..before },
        })
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The article.
    pub sku: String,
    /// Its place among the SKU's movements, which is the version that it makes.
    pub sequence: i64,
    /// What happened.
    pub kind: Kind,
    /// To how many.
    pub quantity: i64,
    /// What is there afterwards.
    pub after: Balance,
    /// When.
    pub create_time: DateTime<Utc>,
    /// The transaction that held, sold or released.
    pub transaction_id: Option<Uuid>,
    /// The reservation that it was kept aside for.
    pub reservation_id: Option<Uuid>,
    /// Why, where that is known.
    pub reason: Option<String>,
    /// The client's name for its request, where it has one.
    pub request_id: Option<String>,
    /// Which client asked, where that is known.
    pub actor: Option<String>,
}
