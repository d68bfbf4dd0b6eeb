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
    use proptest::prelude::*;

    use super::*;

    /// Of 0, 2 and 3 digits, known ones and any.
    fn currency() -> impl Strategy<Value = String> {
        prop_oneof![Just("JPY".to_owned()), Just("GBP".to_owned()), Just("KWD".to_owned()), "[A-Z]{3}"]
    }

    /// Any of 64 bits, and more of those near an end or near a unit.
    fn minor() -> impl Strategy<Value = i64> {
        let near = |at: i64| (-1_100..1_100_i64).prop_map(move |off| at.saturating_add(off));
        prop_oneof![any::<i64>(), near(0), near(i64::MAX), near(i64::MIN)]
    }

    proptest! {
        #[test]
        fn every_amount_survives_the_wire(currency in currency(), minor in minor()) {
            let wire = Money::from_minor(&currency, minor);
            prop_assert_eq!(wire.to_minor(), Ok(minor));
            prop_assert!(wire.units.signum() * i64::from(wire.nanos.signum()) >= 0);
            let nanos_per_minor = 1_000_000_000 / 10_i128.pow(minor_digits(&currency));
            let nanos = i128::from(wire.units) * 1_000_000_000 + i128::from(wire.nanos);
            prop_assert_eq!(nanos, i128::from(minor) * nanos_per_minor);
        }

        #[test]
        fn what_is_taken_from_the_wire_is_exact_and_has_one_form(
            currency in currency(),
            units in minor(),
            nanos in prop_oneof![any::<i32>(), (-1_000..1_000_i32).prop_map(|millis| millis * 1_000_000)],
        ) {
            let wire = Money { currency_code: currency.clone(), units, nanos };
            if let Ok(minor) = wire.to_minor() {
                prop_assert_eq!(Money::from_minor(&currency, minor), wire);
            }
        }
    }

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
