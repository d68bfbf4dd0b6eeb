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
}

/// What is there of a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// What is there, held or not.
    pub on_hand: i64,
    /// What orders in doubt hold.
    pub held: i64,
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
            Kind::Returned => "returned",
        }
    }

    /// What a movement of so many makes of what was there; none if that is beyond all bounds.
    pub fn apply(self, quantity: i64, before: Balance) -> Option<Balance> {
        let Balance { on_hand, held } = before;
        Some(match self {
            Kind::Received | Kind::Adjusted | Kind::Returned => {
                Balance { on_hand: on_hand.checked_add(quantity)?, held }
            }
            Kind::Held => Balance { on_hand, held: held.checked_add(quantity)? },
            Kind::Sold => Balance { on_hand: on_hand.checked_sub(quantity)?, held: held.checked_sub(quantity)? },
            Kind::Released => Balance { on_hand, held: held.checked_sub(quantity)? },
            Kind::Counted | Kind::Opened => Balance { on_hand: quantity, held },
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
    /// Why, where that is known.
    pub reason: Option<String>,
    /// The client's name for its request, where it has one.
    pub request_id: Option<String>,
    /// Which client asked, where that is known.
    pub actor: Option<String>,
}
