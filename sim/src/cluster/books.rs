//! What participants keep: stock and holds, orders, a ledger. Simple, but with real numbers.
use super::message::Tx;
use super::plan::{Content, Plan};

/// Stock of a SKU, or money of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// What is there.
    pub on_hand: i64,
    /// What of it is held.
    pub held: i64,
}

impl Holding {
    /// 0 <= held <= on hand.
    pub fn is_sound(self) -> bool {
        0 <= self.held && self.held <= self.on_hand
    }
}

/// An order, as its reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In doubt.
    Pending,
    /// Placed.
    Confirmed,
    /// Not placed.
    Refused,
}

/// Both sides of a capture: taken from the account, given to the revenue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    /// Which transaction.
    pub tx: Tx,
    /// Whose money.
    pub account: usize,
    /// What its account lost.
    pub taken: i64,
    /// What the revenue got.
    pub earned: i64,
}

/// What one participant keeps.
#[derive(Debug)]
pub enum Books {
    /// By SKU.
    Inventory(Vec<Holding>),
    /// By transaction.
    Orders(Vec<Option<Order>>),
    /// By account; all bookings; the revenue.
    Payment { accounts: Vec<Holding>, bookings: Vec<Booking>, revenue: i64 },
}

/// A changed row.
#[derive(Debug)]
pub enum BookChange {
    /// A SKU or an account now holds this.
    Holding(usize, Holding),
    /// An order.
    Order(Tx, Option<Order>),
    /// A new booking.
    Booked(Booking),
    /// The newest booking is taken back.
    Unbooked,
}

impl Books {
    /// What the participant at this place begins with.
    pub fn new(place: usize, plan: &Plan) -> Self {
        let full = |amounts: &[i64]| amounts.iter().map(|on_hand| Holding { on_hand: *on_hand, held: 0 }).collect();
        match place {
            0 => Books::Inventory(full(&plan.stock)),
            1 => Books::Orders(Vec::new()),
            _ => Books::Payment { accounts: full(&plan.balances), bookings: Vec::new(), revenue: 0 },
        }
    }

    /// Makes a change; returns the one that takes it back.
    pub fn apply(&mut self, change: BookChange) -> BookChange {
        match (self, change) {
            (Books::Inventory(all) | Books::Payment { accounts: all, .. }, BookChange::Holding(place, holding)) => {
                BookChange::Holding(place, std::mem::replace(&mut all[place], holding))
            }
            (Books::Orders(orders), BookChange::Order(tx, order)) => {
                if orders.len() <= tx {
                    orders.resize(tx + 1, None);
                }
                BookChange::Order(tx, std::mem::replace(&mut orders[tx], order))
            }
            (Books::Payment { bookings, revenue, .. }, BookChange::Booked(booking)) => {
                *revenue += booking.earned;
                bookings.push(booking);
                BookChange::Unbooked
            }
            (Books::Payment { bookings, revenue, .. }, BookChange::Unbooked) => match bookings.pop() {
                Some(booking) => {
                    *revenue -= booking.earned;
                    BookChange::Booked(booking)
                }
                None => BookChange::Unbooked,
            },
            (books, change) => unreachable!("{change:?} is none of {books:?}"),
        }
    }

    /// What has to be held for an order: which holding, and how much of it.
    pub fn asks(&self, content: &Content) -> [(usize, i64); 2] {
        match self {
            Books::Inventory(_) => content.lines,
            Books::Orders(_) => [(0, 0), (0, 0)],
            Books::Payment { .. } => [(content.account, content.amount), (0, 0)],
        }
    }

    /// The holdings; there are none of orders.
    pub fn holdings(&self) -> &[Holding] {
        match self {
            Books::Inventory(all) | Books::Payment { accounts: all, .. } => all,
            Books::Orders(_) => &[],
        }
    }
}
