//! Any batch on any accounts: nothing is spent twice, nobody overtakes, and sums that nobody has are exact.
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn currency() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just("GBP"), 1 => Just("JPY"), 1 => Just("KWD")].prop_map(str::to_owned)
}

fn batch() -> impl Strategy<Value = Vec<Authorisation>> {
    let amount = prop_oneof![4 => 0..=10_i64, 1 => any::<i64>().prop_map(|any| any & i64::MAX), 1 => Just(i64::MAX)];
    let wanted = ("[a-d]", currency(), amount).prop_map(|(account, currency, amount_minor)| Authorisation {
        account,
        currency,
        amount_minor,
    });
    vec(wanted, 0..12)
}

fn accounts() -> impl Strategy<Value = BTreeMap<String, Funds>> {
    let available = prop_oneof![4 => 0..=30_i128, 1 => Just(i128::from(i64::MAX))];
    let funds = (currency(), available).prop_map(|(currency, available_minor)| Funds { currency, available_minor });
    btree_map("[a-c]", funds, 0..4)
}

fn funds(accounts: &BTreeMap<String, Funds>) -> BTreeMap<&str, Funds> {
    accounts.iter().map(|(account, funds)| (account.as_str(), funds.clone())).collect()
}

proptest! {
    #[test]
    fn a_batch_is_summed_exactly_even_beyond_64_bits(batch in batch()) {
        let sums = sums(&batch);
        for wanted in &batch {
            let of_one = |other: &&Authorisation| (&other.account, &other.currency) == (&wanted.account, &wanted.currency);
            let exact: i128 = batch.iter().filter(of_one).map(|it| i128::from(it.amount_minor)).sum();
            prop_assert_eq!(sums.get(&(wanted.account.as_str(), wanted.currency.as_str())), Some(&exact));
        }
        prop_assert_eq!(sums.values().sum::<i128>(), batch.iter().map(|it| i128::from(it.amount_minor)).sum::<i128>());
    }

    #[test]
    fn never_more_is_granted_than_an_account_has(batch in batch(), accounts in accounts()) {
        let votes = decide(&batch.iter().collect::<Vec<_>>(), funds(&accounts));
        prop_assert_eq!(votes.len(), batch.len());
        let granted = batch.iter().zip(&votes).filter(|(_, vote)| vote.is_ok()).map(|(wanted, _)| wanted);
        for ((account, currency), sum) in sums(granted) {
            let funds = accounts.get(account).expect("what is granted exists");
            prop_assert_eq!(&funds.currency, currency);
            prop_assert!(sum <= funds.available_minor, "{} of {}", sum, account);
        }
    }

    #[test]
    fn a_batch_is_decided_as_its_branches_would_be_one_by_one(batch in batch(), accounts in accounts()) {
        let votes = decide(&batch.iter().collect::<Vec<_>>(), funds(&accounts));
        let mut left = accounts.clone();
        for (wanted, vote) in batch.iter().zip(&votes) {
            prop_assert_eq!(&decide(&[wanted], funds(&left)), std::slice::from_ref(vote));
            if vote.is_ok() {
                let account = left.get_mut(&wanted.account).expect("what is granted exists");
                account.available_minor -= i128::from(wanted.amount_minor);
            }
        }
        prop_assert!(left.values().all(|funds| funds.available_minor >= 0));
    }

    #[test]
    fn who_comes_later_changes_nothing_for_who_came_before(
        batch in batch(),
        accounts in accounts(),
        count in 0..12_usize,
    ) {
        let all: Vec<&Authorisation> = batch.iter().collect();
        let count = count.min(all.len());
        let votes = decide(&all, funds(&accounts));
        prop_assert_eq!(&decide(&all[..count], funds(&accounts)), &votes[..count]);
    }

    #[test]
    fn a_refusal_is_true(batch in batch().prop_filter("one at least", |batch| !batch.is_empty()), accounts in accounts()) {
        let wanted = &batch[0];
        let refused = decide(&[wanted], funds(&accounts)).remove(0).err().map(|refusal| refusal.reason);
        let why = match accounts.get(&wanted.account) {
            None => Some("UNKNOWN_ACCOUNT"),
            Some(funds) if funds.currency != wanted.currency => Some("CURRENCY_MISMATCH"),
            Some(funds) if funds.available_minor < i128::from(wanted.amount_minor) => Some("INSUFFICIENT_FUNDS"),
            Some(_) => None,
        };
        prop_assert_eq!(refused.as_deref(), why);
    }

    #[test]
    fn amounts_are_told_exactly(minor in any::<i64>(), currency in currency()) {
        let told = in_units(minor.into(), &currency);
        let digits: String = told.chars().filter(|letter| *letter != '.').collect();
        prop_assert_eq!(digits.parse::<i64>(), Ok(minor));
        let places = told.split_once('.').map_or(0, |(_, part)| part.len());
        prop_assert_eq!(places, usize::try_from(proto::money::minor_digits(&currency)).unwrap());
    }
}
