//! The waitlist of a SKU: what is free is offered in the order of arrival.
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What has become of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It waits for some, and may have been offered others.
    Waiting,
    /// All of it has been offered.
    Offered,
    /// Orders have taken what was offered.
    Taken,
    /// An offer was not taken in time.
    Lapsed,
    /// Given up by the customer.
    Left,
}

impl EntryState {
    /// How it is stored.
    pub fn code(self) -> i16 {
        match self {
            EntryState::Waiting => 1,
            EntryState::Offered => 2,
            EntryState::Taken => 3,
            EntryState::Lapsed => 4,
            EntryState::Left => 5,
        }
    }

    /// The one that is stored so.
    pub fn of_code(code: i16) -> Option<Self> {
        use EntryState::{Lapsed, Left, Offered, Taken, Waiting};
        [Waiting, Offered, Taken, Lapsed, Left].into_iter().find(|state| state.code() == code)
    }
}

/// What an entry has been offered and has not ordered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The reservation that keeps it, which an order names.
    pub reservation_id: Uuid,
    /// How many are left of it.
    pub quantity: i64,
    /// Until when it stands.
    pub expire_time: DateTime<Utc>,
}

/// Somebody's wait for a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub entry_id: Uuid,
    /// The article.
    pub sku: String,
    /// Who waits.
    pub customer: String,
    /// Its place in the order of arrival.
    pub place: i64,
    /// How many are wanted.
    pub quantity: i64,
    /// Less than this is not offered, unless less is left to be offered.
    pub min_quantity: i64,
    /// How many have been offered so far.
    pub offered: i64,
    /// What has become of it, as it is stored.
    pub state: EntryState,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When it changed last.
    pub update_time: DateTime<Utc>,
    /// How many entries wait before it.
    pub entries_ahead: i64,
    /// How many units these wait for.
    pub units_ahead: i64,
    /// Its offers that stand, by the time at which they end.
    pub offers: Vec<Offer>,
}

impl Entry {
    /// What has become of it: what was offered and is in orders now is taken, unless these give it back.
    pub fn shown_state(&self) -> EntryState {
        match self.state {
            EntryState::Offered if self.offers.iter().all(|offer| offer.quantity == 0) => EntryState::Taken,
            state => state,
        }
    }

    /// Whether nothing will become of it any more.
    pub fn has_ended(&self) -> bool {
        !matches!(self.state, EntryState::Waiting | EntryState::Offered)
    }
}

/// Who waits, as far as an offer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The entry.
    pub entry_id: Uuid,
    /// Its place.
    pub place: i64,
    /// How many it still wants, at least 1.
    pub wanted: i64,
    /// How many it takes at least, unless it wants less.
    pub least: i64,
}

/// Offers what is free in the order given: to each what it wants, or what there is, unless that is less than it takes.
/// Whom there is too little for keeps his place, and nobody behind him waits for it. Answers how many each gets.
pub fn offer(free: &mut i64, waiting: &[Waiting]) -> Vec<i64> {
    let offer_one = |one: &Waiting| {
        let quantity = one.wanted.min(*free);
        if quantity < one.least.min(one.wanted).max(1) {
            return 0;
        }
        *free -= quantity;
        quantity
    };
    waiting.iter().map(offer_one).collect()
}
