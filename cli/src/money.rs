//! Money as the command line takes and prints it: exact decimals, never floats.
use std::fmt;
use std::str::FromStr;

use proto::google::r#type::Money;
use proto::money::minor_digits;
use serde::Serialize;

const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// A decimal number with at most nine digits after the point, as google.type.Money carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal {
    nanos: i128,
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDecimal {
    /// Not digits with at most one point.
    #[error("not a decimal number such as 12.50")]
    Malformed,
    /// More than nine digits after the point.
    #[error("more than nine digits after the point")]
    TooFine,
    /// More than 64 bits of whole units.
    #[error("too large")]
    TooLarge,
}

impl FromStr for Decimal {
    type Err = BadDecimal;

    fn from_str(text: &str) -> Result<Self, BadDecimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(BadDecimal::Malformed),
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(BadDecimal::Malformed);
        }
        let units: i64 = whole.parse().map_err(|_| BadDecimal::TooLarge)?;
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 9 {
            return Err(BadDecimal::TooFine);
        }
        let fraction_nanos: i128 = format!("{fraction:0<9}").parse().map_err(|_| BadDecimal::Malformed)?;
        let nanos = i128::from(units) * NANOS_PER_UNIT + fraction_nanos;
        Ok(Decimal { nanos: if negative { -nanos } else { nanos } })
    }
}

impl Decimal {
    /// The amount in whole minor units; `None` if it is finer than the currency or does not fit.
    pub fn to_minor(self, currency_code: &str) -> Option<i64> {
        let step = NANOS_PER_UNIT / 10_i128.pow(minor_digits(currency_code));
        if self.nanos % step != 0 { None } else { i64::try_from(self.nanos / step).ok() }
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The whole part of `count` times this; at most what fits.
    pub fn floor_of(self, count: i64) -> i64 {
        let product = self.nanos.saturating_mul(i128::from(count)).div_euclid(NANOS_PER_UNIT);
        i64::try_from(product).unwrap_or(if product < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount on the wire.
    pub fn to_wire(self, currency_code: &str) -> Money {
        Money {
            currency_code: currency_code.to_owned(),
            // Both always fit: no way to make a Decimal gives it more than 64 bits of whole units.
            units: i64::try_from(self.nanos / NANOS_PER_UNIT).unwrap_or(i64::MAX),
            nanos: i32::try_from(self.nanos % NANOS_PER_UNIT).unwrap_or(0),
        }
    }
}

/// A currency's code, checked by clap: three letters, made upper case.
pub fn parse_currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("a currency is three letters, such as GBP".to_owned())
    }
}

/// Money as it is printed: minor units for machines, the decimal for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MoneyView {
    /// ISO 4217.
    pub currency: String,
    /// In minor units (pence, cents).
    pub amount_minor: i128,
    /// As a decimal string, with as many digits as the currency has.
    pub amount: String,
}

impl From<&Money> for MoneyView {
    fn from(money: &Money) -> Self {
        let nanos = i128::from(money.units) * NANOS_PER_UNIT + i128::from(money.nanos);
        let digits = minor_digits(&money.currency_code);
        let amount_minor = nanos / (NANOS_PER_UNIT / 10_i128.pow(digits));
        let scale = 10_u128.pow(digits);
        let magnitude = amount_minor.unsigned_abs();
        let sign = if amount_minor < 0 { "-" } else { "" };
        let amount = match digits {
            0 => format!("{sign}{magnitude}"),
            _ => format!("{sign}{}.{:0width$}", magnitude / scale, magnitude % scale, width = digits as usize),
        };
        MoneyView { currency: money.currency_code.clone(), amount_minor, amount }
    }
}

impl MoneyView {
    /// The view of a field that may be unset.
    pub fn of(money: Option<&Money>) -> Option<Self> {
        money.map(MoneyView::from)
    }
}

impl fmt::Display for MoneyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let pence = |text: &str| text.parse::<Decimal>().unwrap().to_minor("GBP");
        assert_eq!(pence("100.00"), Some(10_000));
        assert_eq!(pence("2.1"), Some(210));
        assert_eq!(pence("0.29"), Some(29)); // 0.29 * 100 is 28.999... in floating point
        assert_eq!(pence("-1.50"), Some(-150));
        assert_eq!(pence("1.2500000000000"), Some(125));
        assert_eq!(pence("0.001"), None);
        assert_eq!("1000".parse::<Decimal>().unwrap().to_minor("JPY"), Some(1000));
        assert_eq!("1.5".parse::<Decimal>().unwrap().to_minor("JPY"), None);
        assert_eq!("1.234".parse::<Decimal>().unwrap().to_minor("KWD"), Some(1234));
    }

    #[test]
    fn what_is_no_amount_is_said_so() {
        for text in ["", ".", "1.", ".5", "1,00", "1e3", "abc", "--1", "+1", "1.2.3", " 1", "NaN", "١"] {
            assert_eq!(text.parse::<Decimal>(), Err(BadDecimal::Malformed), "{text:?}");
        }
        assert_eq!("0.0000000001".parse::<Decimal>(), Err(BadDecimal::TooFine));
        assert_eq!("9223372036854775808".parse::<Decimal>(), Err(BadDecimal::TooLarge));
        assert_eq!("92233720368547758.08".parse::<Decimal>().unwrap().to_minor("GBP"), None);
    }

    #[test]
    fn a_part_of_a_count_is_rounded_down_exactly() {
        let part = |factor: &str, count| factor.parse::<Decimal>().unwrap().floor_of(count);
        assert_eq!(part("0.8", 10), 8);
        assert_eq!(part("0.8", 9), 7);
        assert_eq!(part("0.8", 5), 4); // 0.8 * 5 is 4.000000000000000222 in floating point, 0.29 * 100 is not even 29
        assert_eq!(part("0.29", 100), 29);
        assert_eq!(part("0", 7), 0);
        assert_eq!(part("1000", i64::MAX), i64::MAX);
    }

    #[test]
    fn the_wire_form_keeps_every_digit() {
        let wire = "9223372036854775807.999999999".parse::<Decimal>().unwrap().to_wire("GBP");
        assert_eq!((wire.units, wire.nanos), (i64::MAX, 999_999_999));
        let wire = "-1.75".parse::<Decimal>().unwrap().to_wire("GBP");
        assert_eq!((wire.units, wire.nanos), (-1, -750_000_000));
        let view = MoneyView::from(&wire);
        assert_eq!((view.amount_minor, view.amount.as_str()), (-175, "-1.75"));
        assert_eq!(MoneyView::from(&Money::from_minor("GBP", 5)).amount, "0.05");
        assert_eq!(MoneyView::from(&Money::from_minor("JPY", 5)).to_string(), "5 JPY");
    }
}
