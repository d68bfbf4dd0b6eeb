//! Conversions between the wire's types and the payment service's.
use std::collections::BTreeMap;
use std::time::SystemTime;

use participant::{Refusal, status};
use proto::assent::payment::v1 as api;
use proto::google::r#type::Money;
use tonic::{Code, Status};

use crate::domain::call::{Call, State};
use crate::domain::{Account, Denied, Ended, Entry, Payment};

/// An account.
pub fn account(account: Account) -> api::Account {
    let money = |minor| Some(Money::from_minor(&account.currency, minor));
    api::Account {
        balance: money(account.balance_minor),
        held: money(account.held_minor),
        // Held is zero or more and at most the balance; the ledger's own accounts hold nothing.
        available: money(account.balance_minor.saturating_sub(account.held_minor)),
        create_time: Some(SystemTime::from(account.create_time).into()),
        account: account.account,
    }
}

/// An entry of an account.
pub fn entry(account: &str, currency: &str, entry: Entry) -> api::Entry {
    api::Entry {
        booking_id: entry.booking_id.to_string(),
        account: account.to_owned(),
        amount: Some(Money::from_minor(currency, entry.amount_minor)),
        kind: entry.kind,
        create_time: Some(SystemTime::from(entry.create_time).into()),
    }
}

/// A payment, without its entries.
pub fn payment(payment: &Payment) -> api::Payment {
    let money = |minor| Some(Money::from_minor(&payment.currency, minor));
    let state = match payment.ended {
        None => api::PaymentState::Authorised,
        Some(Ended::Captured) => api::PaymentState::Captured,
        Some(Ended::Voided) => api::PaymentState::Voided,
        Some(Ended::Expired) => api::PaymentState::Expired,
        Some(Ended::Replaced) => api::PaymentState::Replaced,
    };
    api::Payment {
        payment_id: payment.payment_id.to_string(),
        account: payment.account.clone(),
        state: state.into(),
        authorised: money(payment.authorised_minor),
        captured: money(payment.captured_minor),
        refunded: money(payment.refunded_minor),
        capturable: money(payment.capturable_minor()),
        capture_in_doubt: money(payment.capturing_minor),
        refund_in_doubt: money(payment.refunding_minor),
        expire_time: payment.expire_time.map(|time| SystemTime::from(time).into()),
        create_time: Some(SystemTime::from(payment.create_time).into()),
        entries: Vec::new(),
        calls: Vec::new(),
    }
}

/// A call of the gateway.
pub fn call(call: &Call) -> api::GatewayCall {
    let is_open = matches!(call.state, State::Asking | State::GivenUp | State::Wanted);
    api::GatewayCall {
        call_id: call.call_id.clone(),
        payment_id: call.payment_id.to_string(),
        operation: call.operation.clone(),
        amount: Some(Money::from_minor(&call.currency, call.amount_minor)),
        state: call.state.text().to_owned(),
        attempts: call.attempts,
        last_error: call.last_error.clone(),
        next_attempt_time: is_open.then(|| SystemTime::from(call.next_time).into()),
        create_time: Some(SystemTime::from(call.create_time).into()),
    }
}

/// An amount of zero or more: its currency and minor units.
pub fn amount(field: &str, money: Option<Money>) -> Result<(String, i64), Status> {
    let money = money.ok_or_else(|| status::invalid(field, "is missing"))?;
    let minor = money.to_minor().map_err(|error| status::invalid(field, error.to_string()))?;
    match minor < 0 {
        true => Err(status::invalid(field, "must be zero or more")),
        false => Ok((money.currency_code, minor)),
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Status {
        let message = denied.to_string();
        let named = |key: &str, value: String| BTreeMap::from([(key.to_owned(), value)]);
        match denied {
            Denied::AccountExists { account } => {
                status::error(Code::AlreadyExists, "ACCOUNT_EXISTS", message, &named("account", account))
            }
            Denied::UnknownAccount { account } => status::not_found("UNKNOWN_ACCOUNT", "account", &account),
            Denied::CurrencyMismatch { account, currency, requested } => {
                let refusal = Refusal::new("CURRENCY_MISMATCH", message).with("account", account);
                let refusal = refusal.with("currency", currency).with("requested_currency", requested);
                status::refused(&refusal, &BTreeMap::new())
            }
            Denied::OutOfRange => status::error(Code::OutOfRange, "AMOUNT_OUT_OF_RANGE", message, &BTreeMap::new()),
            Denied::RequestIdReused(reused) => reused.into(),
        }
    }
}
