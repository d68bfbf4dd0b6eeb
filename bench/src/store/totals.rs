//! What all orders together have left in each database: where there are too many to compare them one by one, these must agree.
use super::{Failed, Server};

/// For each database, its questions; every answer is one number.
const ORDERS: &str = "SELECT count(*) FROM orders WHERE NOT refused";
const SOLD: &str = "SELECT count(*) FROM movement WHERE kind = 3";
const HELD_UNITS: &str = "SELECT coalesce(sum(held), 0) FROM stock";
const CAPTURED: &str = "SELECT count(*) FROM booking WHERE kind = 'capture'";
const HELD_MINOR: &str = "SELECT coalesce(sum(held_minor), 0) FROM account";
const BALANCES: &str = "SELECT coalesce(sum(balance_minor), 0) FROM account";

/// The totals of a system whose orders have one line, of one unit, and that does nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Orders that are not refused.
    pub orders: i128,
    /// Sales.
    pub sold: i128,
    /// Captures.
    pub captured: i128,
    /// Units that are held.
    pub held_units: i128,
    /// Money that is held.
    pub held_minor: i128,
    /// All balances together.
    pub balances_minor: i128,
}

impl Totals {
    /// Reads them, one after the other: they agree only once nothing is placed any more.
    pub async fn read(servers: &[Server]) -> Result<Self, Failed> {
        let [orders] = ask(servers, "order", [ORDERS]).await?;
        let [sold, held_units] = ask(servers, "inventory", [SOLD, HELD_UNITS]).await?;
        let [captured, held_minor, balances_minor] = ask(servers, "payment", [CAPTURED, HELD_MINOR, BALANCES]).await?;
        Ok(Totals { orders, sold, captured, held_units, held_minor, balances_minor })
    }

    /// Whether every order was sold and paid once, nothing is held, and no money came or went.
    pub fn agree(&self) -> bool {
        let Totals { orders, sold, captured, held_units, held_minor, balances_minor } = *self;
        orders == sold && orders == captured && held_units == 0 && held_minor == 0 && balances_minor == 0
    }
}

async fn ask<const N: usize>(servers: &[Server], database: &str, questions: [&str; N]) -> Result<[i128; N], Failed> {
    let failed = |said: &str| Failed::NoFigures { name: format!("{database}-db"), said: said.to_owned() };
    let server = servers.iter().find(|server| server.database == database).ok_or_else(|| failed(""))?;
    let said = server.ask(&questions.map(str::to_owned)).await?;
    let figures: Option<Vec<i128>> = said.lines().map(|line| line.trim().parse().ok()).collect();
    figures.and_then(|figures| figures.try_into().ok()).ok_or_else(|| failed(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_was_not_paid_is_seen() {
        let totals = Totals { orders: 7, sold: 7, captured: 7, held_units: 0, held_minor: 0, balances_minor: 0 };
        assert!(totals.agree());
        for wrong in [
            Totals { captured: 6, ..totals },
            Totals { sold: 8, ..totals },
            Totals { held_units: 1, ..totals },
            Totals { held_minor: 1, ..totals },
            Totals { balances_minor: -100, ..totals },
        ] {
            assert!(!wrong.agree(), "{wrong:?}");
        }
    }
}
