//! Locations: which of them ships what of an order.
use std::collections::{BTreeMap, BTreeSet};

/// Where units are that nobody has put anywhere else.
pub const MAIN: &str = "main";

/// What a location has of a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// The location.
    pub location: String,
    /// What is there.
    pub on_hand: i64,
    /// What orders in doubt will take from there.
    pub held: i64,
}

impl Shelf {
    /// What can still be given to orders.
    pub fn free(&self) -> i64 {
        self.on_hand - self.held
    }
}

/// The shelves of SKUs, those of each in the order in which orders are served from them.
pub type Shelves = BTreeMap<String, Vec<Shelf>>;

/// So many of a SKU from one location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The article.
    pub sku: String,
    /// Where it comes from.
    pub location: String,
    /// How many.
    pub quantity: i64,
}

/// Chooses from where an order is served: from one location if one has all of it; else each line from one that has all of
/// the line, rather from one that ships something else already; else from several, as few as possible. What the lines want
/// altogether is there. What is chosen is held.
pub fn allocate(lines: &[(&str, i64)], shelves: &mut Shelves) -> Vec<Part> {
    let mut parts = Vec::new();
    let whole = whole(lines, shelves);
    let mut used: BTreeSet<String> = whole.into_iter().collect();
    for (sku, quantity) in lines {
        let Some(shelves) = shelves.get_mut(*sku) else { continue };
        let mut wanted = *quantity;
        while wanted > 0 {
            let Some(shelf) = next(shelves, &used, wanted) else { break };
            let taken = wanted.min(shelf.free());
            shelf.held += taken;
            wanted -= taken;
            used.insert(shelf.location.clone());
            parts.push(Part { sku: (*sku).to_owned(), location: shelf.location.clone(), quantity: taken });
        }
    }
    parts
}

/// The first location that has all of it.
fn whole(lines: &[(&str, i64)], shelves: &Shelves) -> Option<String> {
    let (first, _) = lines.iter().find(|(sku, _)| shelves.contains_key(*sku))?;
    let has_all = |location: &str| {
        lines.iter().all(|(sku, quantity)| {
            let of_sku = shelves.get(*sku);
            of_sku.is_none_or(|all| all.iter().any(|shelf| shelf.location == location && shelf.free() >= *quantity))
        })
    };
    shelves.get(*first)?.iter().map(|shelf| &shelf.location).find(|location| has_all(location)).cloned()
}

/// Where the next units come from.
fn next<'s>(shelves: &'s mut [Shelf], used: &BTreeSet<String>, wanted: i64) -> Option<&'s mut Shelf> {
    let place = |fits: &dyn Fn(&Shelf) -> bool| shelves.iter().position(|shelf| shelf.free() > 0 && fits(shelf));
    let all_of_it = |shelf: &Shelf| shelf.free() >= wanted;
    let found = place(&|shelf| all_of_it(shelf) && used.contains(&shelf.location))
        .or_else(|| place(&all_of_it))
        // From the one that has most: so there are few of them.
        .or_else(|| {
            let most = shelves.iter().map(Shelf::free).max()?;
            place(&|shelf| shelf.free() == most)
        });
    found.and_then(|place| shelves.get_mut(place))
}

/// Puts what has come on a shelf, or takes what has gone from some: from the location that is named, else from the main one
/// and then from those that are served last. What is held stays. Answers what each has got.
pub fn settle(shelves: &mut Vec<Shelf>, delta: i64, at: Option<&str>) -> Vec<(String, i64)> {
    let at = at.unwrap_or(MAIN);
    let has = shelves.iter().any(|shelf| shelf.location == at);
    if delta > 0 && !has {
        shelves.push(Shelf { location: at.to_owned(), on_hand: 0, held: 0 });
    }
    let mut left = delta;
    let mut changed = Vec::new();
    let mut order: Vec<usize> = (0..shelves.len()).rev().collect();
    order.sort_by_key(|place| shelves.get(*place).is_none_or(|shelf| shelf.location != at));
    for place in order {
        let Some(shelf) = shelves.get_mut(place) else { continue };
        let part = if left > 0 { left } else { left.max(-shelf.free()) };
        if part != 0 {
            shelf.on_hand += part;
            left -= part;
            changed.push((shelf.location.clone(), part));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shelves(all: &[(&str, &[(&str, i64)])]) -> Shelves {
        let shelf =
            |(location, on_hand): &(&str, i64)| Shelf { location: (*location).to_owned(), on_hand: *on_hand, held: 0 };
        all.iter().map(|(sku, at)| ((*sku).to_owned(), at.iter().map(shelf).collect())).collect()
    }

    fn told(parts: &[Part]) -> Vec<String> {
        parts.iter().map(|part| format!("{} {} {}", part.quantity, part.sku, part.location)).collect()
    }

    #[test]
    fn one_location_first_then_one_a_line_then_as_few_as_can_be() {
        let mut all = shelves(&[("a", &[("x", 1), ("y", 5), ("z", 9)]), ("b", &[("x", 9), ("z", 2)])]);
        assert_eq!(told(&allocate(&[("a", 2), ("b", 2)], &mut all)), ["2 a z", "2 b z"], "z alone has both");
        assert_eq!(told(&allocate(&[("a", 1), ("b", 1)], &mut all)), ["1 a x", "1 b x"]);
        assert_eq!(told(&allocate(&[("b", 3), ("a", 6)], &mut all)), ["3 b x", "6 a z"]);
        assert_eq!(told(&allocate(&[("a", 6)], &mut all)), ["5 a y", "1 a z"]);
        assert_eq!(told(&allocate(&[("c", 6)], &mut all)), [""; 0], "what is kept in one place needs no choice");
    }

    #[test]
    fn what_comes_and_goes_without_a_place_is_at_the_main_one() {
        let mut all = shelves(&[("a", &[("x", 4), ("y", 4)])]).remove("a").unwrap();
        assert_eq!(settle(&mut all, 3, None), [("main".to_owned(), 3)]);
        assert_eq!(settle(&mut all, 2, Some("x")), [("x".to_owned(), 2)]);
        all[1].held = 2;
        assert_eq!(settle(&mut all, -6, None), [("main".to_owned(), -3), ("y".to_owned(), -2), ("x".to_owned(), -1)]);
        assert_eq!(settle(&mut all, 0, None), []);
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_and_there_is_chosen_exactly_once(
            stock in prop::collection::vec(prop::collection::vec(0..9_i64, 4), 3),
            wanted in prop::collection::vec(0..20_i64, 3),
        ) {
            let names = ["a", "b", "c"];
            let mut all: Shelves = names.iter().zip(&stock).map(|(sku, at)| {
                let shelf = |(place, on_hand): (usize, &i64)| Shelf { location: format!("l{place}"), on_hand: *on_hand, held: 0 };
                ((*sku).to_owned(), at.iter().enumerate().map(shelf).collect())
            }).collect();
            let wanted: Vec<(&str, i64)> = names.iter().zip(&wanted).zip(&stock)
                .map(|((sku, wanted), at)| (*sku, *wanted.min(&at.iter().sum())))
                .filter(|(_, wanted)| *wanted > 0).collect();
            let one_has_all = (0..4).any(|place| wanted.iter().all(|(sku, quantity)| all[*sku][place].free() >= *quantity));
            let parts = allocate(&wanted, &mut all);
            for (sku, quantity) in &wanted {
                let given: i64 = parts.iter().filter(|part| part.sku == *sku).map(|part| part.quantity).sum();
                prop_assert_eq!(given, *quantity);
                prop_assert!(all[*sku].iter().all(|shelf| (0..=shelf.on_hand).contains(&shelf.held)));
            }
            let locations: BTreeSet<&str> = parts.iter().map(|part| part.location.as_str()).collect();
            prop_assert!(!one_has_all || locations.len() <= 1, "{parts:?}");
        }
    }
}
