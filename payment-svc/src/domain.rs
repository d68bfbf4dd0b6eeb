//! Accounts, their ledger, and what can be authorised.
mod branch;
pub mod call;
pub mod payment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::{Refusal, own_request};
use proto::limits;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

pub use branch::{Branch, Part};
pub use payment::{Effect, Ended, Payment};

/// Where money comes from and where captures go: the ledger's own account of a currency.
pub mod internal {
    /// What every such name begins with.
    pub const PREFIX: &str = "assent:";

    /// Where deposits come from.
    pub fn external(currency: &str) -> String {
        format!("{PREFIX}external:{currency}")
    }

    /// Where captures go.
    pub fn revenue(currency: &str) -> String {
        format!("{PREFIX}revenue:{currency}")
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// What is in it, authorised or not.
    pub balance_minor: i64,
    /// What is authorised: by transactions in doubt, or to be captured later.
    pub held_minor: i64,
    /// When it was opened.
    pub create_time: DateTime<Utc>,
}

/// One side of a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The booking.
    pub booking_id: Uuid,
    /// What the balance changed by.
    pub amount_minor: i64,
    /// `deposit`, `capture` or `refund`.
    pub kind: String,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// What a branch authorises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorisation {
    /// The account that pays.
    pub account: String,
    /// In which currency.
    pub currency: String,
    /// How much, zero or more.
    pub amount_minor: i64,
}

/// What a batch authorises altogether, by account and currency; sorted, so that rows are always locked in one order.
/// 128 bits, because amounts that nobody has may be asked for.
pub fn sums<'a>(batch: impl IntoIterator<Item = &'a Authorisation>) -> BTreeMap<(&'a str, &'a str), i128> {
    let mut sums = BTreeMap::new();
    for Authorisation { account, currency, amount_minor } in batch {
        *sums.entry((account.as_str(), currency.as_str())).or_default() += i128::from(*amount_minor);
    }
    sums
}

/// What an account has when a batch is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funds {
    /// Its currency.
    pub currency: String,
    /// What can be authorised, in its minor unit.
    pub available_minor: i128,
}

/// Decides a batch in its order, taking what it grants from `funds`, which knows every account that exists.
pub fn decide(batch: &[&Authorisation], mut funds: BTreeMap<&str, Funds>) -> Vec<Result<(), Refusal>> {
    batch
        .iter()
        .map(|wanted| {
            let requested = i128::from(wanted.amount_minor);
            match funds.get_mut(wanted.account.as_str()) {
                None => Err(unknown_account(wanted)),
                Some(Funds { currency, .. }) if *currency != wanted.currency => {
                    Err(currency_mismatch(wanted, currency))
                }
                Some(Funds { available_minor, .. }) if *available_minor < requested => {
                    Err(insufficient_funds(wanted, *available_minor))
                }
                Some(Funds { available_minor, .. }) => {
                    *available_minor -= requested;
                    Ok(())
                }
            }
        })
        .collect()
}

fn unknown_account(wanted: &Authorisation) -> Refusal {
    Refusal::new("UNKNOWN_ACCOUNT", format!("there is no account {:?}", wanted.account))
        .with("account", &wanted.account)
}

fn currency_mismatch(wanted: &Authorisation, currency: &str) -> Refusal {
    let Authorisation { account, currency: requested, .. } = wanted;
    Refusal::new("CURRENCY_MISMATCH", format!("account {account} is in {currency}, and the order in {requested}"))
        .with("account", account)
        .with("currency", currency)
        .with("requested_currency", requested)
}

fn insufficient_funds(wanted: &Authorisation, available_minor: i128) -> Refusal {
    let Authorisation { account, currency, amount_minor } = wanted;
    let message = format!(
        "account {account} has {} {currency} available, and {} are needed",
        in_units(available_minor, currency),
        in_units(i128::from(*amount_minor), currency)
    );
    Refusal::new("INSUFFICIENT_FUNDS", message)
        .with("account", account)
        .with("currency", currency)
        .with("requested_minor", amount_minor)
        .with("available_minor", available_minor)
}

/// The name of a booking that a saga's step makes, which may have several: sorted by the saga's time, as all are.
pub fn booking_id_of_step(transaction_id: Uuid, step: &str) -> Uuid {
    let hash = Sha256::new().chain_update(transaction_id).chain_update(step).finalize();
    let mut millis = [0; 8];
    let mut random = [0; 10];
    millis[2..].copy_from_slice(&transaction_id.as_bytes()[..6]);
    random.copy_from_slice(&hash[..10]);
    Builder::from_unix_timestamp_millis(u64::from_be_bytes(millis), &random).into_uuid()
}

/// Minor units as a person writes them, such as 12.50.
fn in_units(minor: i128, currency: &str) -> String {
    let digits = proto::money::minor_digits(currency);
    if digits == 0 {
        return minor.to_string();
    }
    let scale = 10_u128.pow(digits);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, part) = (minor.unsigned_abs() / scale, minor.unsigned_abs() % scale);
    format!("{sign}{whole}.{part:0width$}", width = usize::try_from(digits).unwrap_or_default())
}

/// Why a change of an account was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The name is taken.
    #[error("account {account} exists already, opened by another request")]
    AccountExists {
        /// The account.
        account: String,
    },
    /// There is no such account.
    #[error("there is no account {account:?}")]
    UnknownAccount {
        /// The account.
        account: String,
    },
    /// The account has another currency.
    #[error("account {account} is in {currency}, not in {requested}")]
    CurrencyMismatch {
        /// The account.
        account: String,
        /// Its currency.
        currency: String,
        /// What came.
        requested: String,
    },
    /// A balance would no longer fit.
    #[error("a balance would be larger than 64 bits of minor units; deposit less")]
    OutOfRange,
    /// The request id stands for another request.
    #[error(transparent)]
    RequestIdReused(#[from] own_request::Reused),
}

/// What is wrong with the name of an account to read, if anything: the ledger's own can be read.
pub fn check_readable_account(account: &str) -> Result<(), String> {
    match account.strip_prefix(internal::PREFIX) {
        Some(rest) => limits::check_account(&rest.replace(':', ".")),
        None => limits::check_account(account),
    }
}
