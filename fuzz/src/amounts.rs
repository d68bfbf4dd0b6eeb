//! Amounts reckoned in 128 bits, to hold against what the services make of them in 64.
use proto::google::r#type::Money;
use proto::money::minor_digits;

/// What one minor unit is in billionths of a unit.
pub fn nanos_per_minor(currency: &str) -> i128 {
    1_000_000_000 / 10_i128.pow(minor_digits(currency))
}

/// An amount in billionths of a unit.
pub fn nanos(money: &Money) -> i128 {
    i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
}

/// Whether so many minor units are exactly this amount.
pub fn is(minor: i64, money: &Money) -> bool {
    i128::from(minor) * nanos_per_minor(&money.currency_code) == nanos(money)
}
