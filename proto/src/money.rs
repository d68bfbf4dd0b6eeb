//! google.type.Money to 64-bit minor units and back, exactly.
use crate::google::r#type::Money;

/// Why a Money can't be an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoneyError {
    /// Not three capital letters.
    Currency,
    /// Units and nanos have different signs, or nanos are a unit or more.
    Malformed,
    /// Finer than the currency's minor unit.
    TooFine,
    /// More than fits 64 bits of minor units.
    TooLarge,
}

impl std::fmt::Display for MoneyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            MoneyError::Currency => "the currency must be a three-letter ISO 4217 code such as GBP",
            MoneyError::Malformed => "units and nanos must have one sign, and nanos be less than a unit",
            MoneyError::TooFine => "the amount is finer than the currency's minor unit",
            MoneyError::TooLarge => "the amount is too large",
        })
    }
}

impl std::error::Error for MoneyError {}

/// Decimal places of a currency's minor unit, by ISO 4217; 2 where the code is not known to differ.
pub fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// Whether it looks like an ISO 4217 code.
pub fn is_currency(currency: &str) -> bool {
    currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase())
}

impl Money {
    /// From minor units.
    pub fn from_minor(currency: &str, amount_minor: i64) -> Money {
        let scale = 10_i64.pow(minor_digits(currency));
        let nanos_per_minor = 1_000_000_000 / scale;
        Money {
            currency_code: currency.to_owned(),
            units: amount_minor / scale,
            // At most 999 minor units times the nanos of one: always below a billion.
            nanos: i32::try_from(amount_minor % scale * nanos_per_minor).unwrap_or_default(),
        }
    }

    /// To minor units of its currency.
    pub fn to_minor(&self) -> Result<i64, MoneyError> {
        if !is_currency(&self.currency_code) {
            return Err(MoneyError::Currency);
        }
        let nanos = i64::from(self.nanos);
        if nanos.abs() >= 1_000_000_000 || (self.units > 0 && nanos < 0) || (self.units < 0 && nanos > 0) {
            return Err(MoneyError::Malformed);
        }
        let scale = 10_i64.pow(minor_digits(&self.currency_code));
        let nanos_per_minor = 1_000_000_000 / scale;
        if nanos % nanos_per_minor != 0 {
            return Err(MoneyError::TooFine);
        }
        self.units
            .checked_mul(scale)
            .and_then(|minor| minor.checked_add(nanos / nanos_per_minor))
            .ok_or(MoneyError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(currency: &str, units: i64, nanos: i32) -> Money {
        Money { currency_code: currency.to_owned(), units, nanos }
    }

    #[test]
    fn minor_units_survive_the_wire() {
        for (currency, minor) in [("GBP", 0), ("GBP", 1), ("GBP", -1), ("GBP", 12_345), ("JPY", 7), ("KWD", 1_001)] {
            assert_eq!(Money::from_minor(currency, minor).to_minor(), Ok(minor));
        }
        assert_eq!(Money::from_minor("GBP", i64::MAX).to_minor(), Ok(i64::MAX));
        assert_eq!(Money::from_minor("GBP", i64::MIN).to_minor(), Ok(i64::MIN));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert_eq!(money("gbp", 1, 0).to_minor(), Err(MoneyError::Currency));
        assert_eq!(money("GBP", 1, -1).to_minor(), Err(MoneyError::Malformed));
        assert_eq!(money("GBP", 1, i32::MIN).to_minor(), Err(MoneyError::Malformed));
        assert_eq!(money("GBP", 0, 1).to_minor(), Err(MoneyError::TooFine));
        assert_eq!(money("JPY", 0, 10_000_000).to_minor(), Err(MoneyError::TooFine));
        assert_eq!(money("GBP", i64::MAX, 0).to_minor(), Err(MoneyError::TooLarge));
    }
}
