//! What is shown of stock to those who buy.
use chrono::{DateTime, Utc};

use super::Stock;

/// What a product page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is enough.
    InStock,
    /// There is some, but not much any more.
    LowStock,
    /// There is none, and none is sold.
    OutOfStock,
    /// There is none yet; it is sold, to be sent when it first comes.
    Preorder,
    /// There is none at the moment; it is sold, to be sent when it comes again.
    Backorder,
}

/// Whether a SKU is sold that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum WhenOut {
    /// It is not.
    #[default]
    Refused,
    /// It is, and was never there.
    Preordered,
    /// It is.
    Backordered,
}

/// What is known of a SKU, and when that was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The stock.
    pub stock: Stock,
    /// At how many, or fewer, it is said to be low; 0: never.
    pub low_at: i64,
    /// Whether it is sold when there is none.
    pub when_out: WhenOut,
    /// It was so then, by the database's clock.
    pub as_of: DateTime<Utc>,
}

impl Reading {
    /// What a product page says.
    pub fn status(&self) -> Status {
        match (self.stock.balance.available(), self.when_out) {
            (..=0, WhenOut::Refused) => Status::OutOfStock,
            (..=0, WhenOut::Preordered) => Status::Preorder,
            (..=0, WhenOut::Backordered) => Status::Backorder,
            (available, _) if available <= self.low_at => Status::LowStock,
            _ => Status::InStock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Balance, Marks};
    use super::*;

    #[test]
    fn a_page_says_what_is_left_or_how_it_is_sold_when_nothing_is() {
        let status = |on_hand, buffer, low_at, when_out| {
            let balance = Balance { on_hand, buffer, ..Balance::default() };
            let stock =
                Stock { sku: "a".to_owned(), balance, version: 1, update_time: Utc::now(), marks: Marks::default() };
            Reading { stock, low_at, when_out, as_of: Utc::now() }.status()
        };
        assert_eq!(status(1, 0, 0, WhenOut::Refused), Status::InStock);
        assert_eq!(status(5, 0, 5, WhenOut::Backordered), Status::LowStock);
        assert_eq!(status(6, 0, 5, WhenOut::Refused), Status::InStock);
        assert_eq!(status(6, 1, 5, WhenOut::Refused), Status::LowStock);
        assert_eq!(status(0, 0, 5, WhenOut::Refused), Status::OutOfStock);
        assert_eq!(status(2, 3, 5, WhenOut::Refused), Status::OutOfStock);
        assert_eq!(status(0, 0, 0, WhenOut::Backordered), Status::Backorder);
        assert_eq!(status(0, 0, 0, WhenOut::Preordered), Status::Preorder);
    }
}
