//! The replay of a ledger: every movement must follow from the one before it, and the stock must be what the last one
//! leaves.
use std::collections::BTreeMap;

use super::{Balance, Kind, Movement, Stock};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// What the stock says is on hand.
    OnHand,
    /// What the stock says is held.
    Held,
    /// What the stock says is reserved.
    Reserved,
    /// What the stock says is not to be sold.
    Buffer,
    /// What the stock says is damaged.
    Damaged,
    /// What the stock says is in quality control.
    QualityControl,
    /// The stock's version.
    Version,
    /// There is no row of stock.
    Stock,
    /// Movements are missing.
    Sequence,
    /// A movement does not follow from the one before it.
    Movement,
}

impl Differs {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Differs::OnHand => "on_hand",
            Differs::Held => "held",
            Differs::Reserved => "reserved",
            Differs::Buffer => "buffer",
            Differs::Damaged => "damaged",
            Differs::QualityControl => "quality_control",
            Differs::Version => "version",
            Differs::Stock => "stock",
            Differs::Sequence => "sequence",
            Differs::Movement => "movement",
        }
    }
}

/// Something in which the ledger and the stock, or the ledger and itself, do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The article.
    pub sku: String,
    /// What differs.
    pub differs: Differs,
    /// The movement that explains it, or the first that is missing, where one can be named.
    pub sequence: Option<i64>,
    /// That movement, where it is there.
    pub movement: Option<Movement>,
    /// What is wrong.
    pub detail: String,
}

/// A replay under way: takes movements in the order of the ledger.
pub struct Replay {
    stock: BTreeMap<String, Stock>,
    last: Option<Movement>,
    differences: Vec<Difference>,
    movement_count: i64,
}

impl Replay {
    /// A replay that is to end at this stock.
    pub fn new(stock: impl IntoIterator<Item = Stock>) -> Self {
        let stock = stock.into_iter().map(|stock| (stock.sku.clone(), stock)).collect();
        Replay { stock, last: None, differences: Vec::new(), movement_count: 0 }
    }

    /// Takes the next movement.
    pub fn take(&mut self, movement: Movement) {
        self.movement_count += 1;
        match self.last.take() {
            Some(before) if before.sku == movement.sku => self.differences.extend(link(&before, &movement)),
            before => {
                self.close(before);
                self.differences.extend(beginning(&movement));
            }
        }
        self.last = Some(movement);
    }

    /// Ends it: what differs, by SKU, and how many movements there were.
    pub fn end(mut self) -> (Vec<Difference>, i64) {
        let last = self.last.take();
        self.close(last);
        let without = |(sku, stock): (String, Stock)| Difference {
            detail: format!(
                "the stock says {} on hand and {} held, and there is no movement",
                stock.balance.on_hand, stock.balance.held
            ),
            sku,
            differs: Differs::Sequence,
            sequence: None,
            movement: None,
        };
        self.differences.extend(std::mem::take(&mut self.stock).into_iter().map(without));
        self.differences.sort_by(|one, other| one.sku.cmp(&other.sku));
        (self.differences, self.movement_count)
    }

    /// Compares the stock with the last movement of its SKU.
    fn close(&mut self, last: Option<Movement>) {
        let Some(last) = last else { return };
        let (after, Balance { on_hand, held, .. }) = (last.after, last.after);
        let difference =
            |differs, sequence, detail| Difference { sku: last.sku.clone(), differs, sequence, movement: None, detail };
        let Some(stock) = self.stock.remove(&last.sku) else {
            let detail = format!("there is no stock, and the ledger ends with {on_hand} on hand and {held} held");
            self.differences.push(difference(Differs::Stock, None, detail));
            return;
        };
        if stock.version > last.sequence {
            let (on_hand, held) = (change(on_hand, stock.balance.on_hand), change(held, stock.balance.held));
            let missing = missing(last.sequence, stock.version);
            let detail = format!("{missing}: by the stock, on hand changed by {on_hand} and held by {held}");
            self.differences.push(difference(Differs::Sequence, Some(last.sequence.saturating_add(1)), detail));
            return;
        }
        let said = stock.balance;
        let figures = [
            (Differs::OnHand, "on hand", said.on_hand, on_hand),
            (Differs::Held, "held", said.held, held),
            (Differs::Reserved, "reserved", said.reserved, after.reserved),
            (Differs::Buffer, "as its buffer", said.buffer, after.buffer),
            (Differs::Damaged, "damaged", said.damaged, after.damaged),
            (Differs::QualityControl, "in quality control", said.quality_control, after.quality_control),
            (Differs::Version, "as its version", stock.version, last.sequence),
        ];
        for (differs, what, said, by_ledger) in figures {
            if said != by_ledger {
                let detail = format!("the stock says {said} {what}, the ledger {by_ledger}; no movement explains it");
                self.differences.push(difference(differs, None, detail));
            }
        }
    }
}

/// What is wrong with the first movement of a SKU.
fn beginning(movement: &Movement) -> Option<Difference> {
    let (quantity, Balance { on_hand, held, .. }) = (movement.quantity, movement.after);
    if movement.kind == Kind::Opened {
        let sound = on_hand == quantity && (0..=on_hand).contains(&held);
        return (!sound).then(|| wrong(movement, "begins the ledger", Balance::default()));
    }
    if movement.sequence != 1 {
        let detail = format!(
            "{}: the first that is there left {on_hand} on hand and {held} held",
            missing(0, movement.sequence - 1)
        );
        let sku = movement.sku.clone();
        return Some(Difference { sku, differs: Differs::Sequence, sequence: Some(1), movement: None, detail });
    }
    let follows = movement.kind.apply(quantity, Balance::default()) == Some(movement.after);
    (!follows).then(|| wrong(movement, "begins the ledger", Balance::default()))
}

/// What is wrong between a movement and the next.
fn link(before: &Movement, movement: &Movement) -> Option<Difference> {
    if movement.sequence != before.sequence.saturating_add(1) {
        let (on_hand, held) =
            (change(before.after.on_hand, movement.after.on_hand), change(before.after.held, movement.after.held));
        let detail = format!(
            "{}: with movement {}, {} {}, on hand changed by {on_hand} and held by {held}",
            missing(before.sequence, movement.sequence.saturating_sub(1)),
            movement.sequence,
            movement.kind.name(),
            movement.quantity,
        );
        let sequence = Some(before.sequence.saturating_add(1));
        let sku = movement.sku.clone();
        return Some(Difference { sku, differs: Differs::Sequence, sequence, movement: None, detail });
    }
    if movement.kind.apply(movement.quantity, before.after) != Some(movement.after) {
        return Some(wrong(movement, "does not follow", before.after));
    }
    (movement.create_time < before.create_time).then(|| Difference {
        sku: movement.sku.clone(),
        differs: Differs::Movement,
        sequence: Some(movement.sequence),
        movement: Some(movement.clone()),
        detail: format!("movement {} is dated before the one before it", movement.sequence),
    })
}

fn wrong(movement: &Movement, how: &str, before: Balance) -> Difference {
    let Movement { sequence, kind, quantity, after, .. } = movement;
    let detail = format!(
        "movement {sequence}, {} {quantity}, {how}: {} on hand and {} held before it, {} and {} after it",
        kind.name(),
        before.on_hand,
        before.held,
        after.on_hand,
        after.held
    );
    let sku = movement.sku.clone();
    Difference { sku, differs: Differs::Movement, sequence: Some(*sequence), movement: Some(movement.clone()), detail }
}

/// Which movements are missing after one, up to another.
fn missing(after: i64, until: i64) -> String {
    match after.saturating_add(1) {
        first if first == until => format!("movement {first} is missing"),
        first => format!("movements {first} to {until} are missing"),
    }
}

fn change(before: i64, after: i64) -> i128 {
    i128::from(after) - i128::from(before)
}
