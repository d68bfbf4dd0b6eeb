//! Any batch on any stock: nothing is granted twice, nobody overtakes, all or nothing.
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Few SKUs, of which some are short and some don't exist.
fn sku() -> impl Strategy<Value = String> {
    "[A-D]"
}

fn lines() -> impl Strategy<Value = Vec<(String, i64)>> {
    vec((sku(), prop_oneof![1..=5_i64, Just(1_000_000_000)]), 1..5)
}

fn batch() -> impl Strategy<Value = Vec<Holds>> {
    vec(lines().prop_map(Holds::sum), 0..10)
}

fn stock() -> impl Strategy<Value = BTreeMap<String, i64>> {
    btree_map("[A-C]", prop_oneof![0..=20_i64, Just(MAX_ON_HAND)], 0..4)
}

fn available(stock: &BTreeMap<String, i64>) -> BTreeMap<&str, i64> {
    stock.iter().map(|(sku, available)| (sku.as_str(), *available)).collect()
}

/// Decides a batch that names no reservations.
fn granted(batch: &[&Holds], available: BTreeMap<&str, i64>) -> Vec<Result<(), Refusal>> {
    decide(batch, available, Reserved::default()).into_iter().map(|vote| vote.map(drop)).collect()
}

proptest! {
    #[test]
    fn lines_of_one_sku_are_summed_exactly_in_the_order_they_were_first_named(lines in lines()) {
        let holds = Holds::sum(lines.clone());
        let mut expected: Vec<(&str, i64)> = Vec::new();
        for (sku, quantity) in &lines {
            match expected.iter_mut().find(|(known, _)| known == sku) {
                Some((_, sum)) => *sum += quantity,
                None => expected.push((sku, *quantity)),
            }
        }
        prop_assert_eq!(holds.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_batch_is_summed_exactly(batch in batch()) {
        let mut exact: BTreeMap<&str, i128> = BTreeMap::new();
        for (sku, quantity) in batch.iter().flat_map(Holds::iter) {
            *exact.entry(sku).or_default() += i128::from(quantity);
        }
        let summed: BTreeMap<&str, i128> = sums(&batch).into_iter().map(|(sku, sum)| (sku, sum.into())).collect();
        prop_assert_eq!(summed, exact);
    }

    #[test]
    fn never_more_is_granted_than_is_available(batch in batch(), stock in stock()) {
        let votes = granted(&batch.iter().collect::<Vec<_>>(), available(&stock));
        prop_assert_eq!(votes.len(), batch.len());
        let granted = batch.iter().zip(&votes).filter(|(_, vote)| vote.is_ok()).map(|(holds, _)| holds);
        for (sku, sum) in sums(granted) {
            prop_assert!(sum <= stock.get(sku).copied().unwrap_or_default(), "{} of {}", sum, sku);
        }
    }

    #[test]
    fn a_batch_is_decided_as_its_branches_would_be_one_by_one(batch in batch(), stock in stock()) {
        let votes = granted(&batch.iter().collect::<Vec<_>>(), available(&stock));
        let mut left = stock.clone();
        for (holds, vote) in batch.iter().zip(&votes) {
            prop_assert_eq!(&granted(&[holds], available(&left)), std::slice::from_ref(vote));
            if vote.is_ok() {
                // Granted: all of it is taken. Refused: nothing is.
                for (sku, quantity) in holds.iter() {
                    *left.get_mut(sku).expect("what is granted exists") -= quantity;
                }
            }
        }
        prop_assert!(left.values().all(|left| *left >= 0));
    }

    #[test]
    fn who_comes_later_changes_nothing_for_who_came_before(batch in batch(), stock in stock(), count in 0..10_usize) {
        let all: Vec<&Holds> = batch.iter().collect();
        let count = count.min(all.len());
        let votes = granted(&all, available(&stock));
        prop_assert_eq!(&granted(&all[..count], available(&stock)), &votes[..count]);
    }

    #[test]
    fn a_refusal_is_true(holds in lines().prop_map(Holds::sum), stock in stock()) {
        let missing = holds.iter().find(|(sku, requested)| stock.get(*sku).is_none_or(|there| there < requested));
        match (granted(&[&holds], available(&stock)).remove(0), missing) {
            (Ok(()), missing) => prop_assert_eq!(missing, None),
            (Err(refusal), Some((sku, requested))) => {
                prop_assert_eq!(refusal.metadata.get("sku").map(String::as_str), Some(sku));
                match stock.get(sku) {
                    None => prop_assert_eq!(refusal.reason, "UNKNOWN_SKU"),
                    Some(there) => {
                        prop_assert_eq!(refusal.metadata.get("requested"), Some(&requested.to_string()));
                        prop_assert_eq!(refusal.metadata.get("available"), Some(&there.to_string()));
                        prop_assert_eq!(refusal.reason, "OUT_OF_STOCK");
                    }
                }
            }
            (Err(refusal), None) => prop_assert!(false, "{:?}", refusal),
        }
    }
}
