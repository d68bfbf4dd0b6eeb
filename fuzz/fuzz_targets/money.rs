//! Money between the wire, minor units and text: exact, or refused.
#![no_main]
use arbitrary::{Result, Unstructured};
use cli::money::{Decimal, MoneyView, parse_currency};
use fuzz::amounts::{is, nanos, nanos_per_minor};
use fuzz::orders;
use proto::google::r#type::Money;
use proto::money::{MoneyError, is_currency, minor_digits};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = amounts(data);
});

fn amounts(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let currency = orders::currency(&mut input)?;
    from_wire(&orders::money(&mut input, &currency)?);
    if is_currency(&currency) {
        from_minor(&currency, input.arbitrary()?);
    }
    assert!(parse_currency(&currency).is_ok_and(|code| code == currency) == is_currency(&currency));
    from_text(&currency, input.arbitrary()?);
    Ok(())
}

fn from_wire(money: &Money) {
    let step = nanos_per_minor(&money.currency_code);
    match money.to_minor() {
        Ok(minor) => {
            assert!(is(minor, money), "{minor} of {money:?}");
            assert_eq!(&Money::from_minor(&money.currency_code, minor), money, "each amount has one form");
        }
        Err(MoneyError::Currency) => assert!(!is_currency(&money.currency_code)),
        Err(MoneyError::Malformed) => {
            let one_sign = money.units.signum() * i64::from(money.nanos.signum()) >= 0;
            assert!(!one_sign || money.nanos.unsigned_abs() >= 1_000_000_000);
        }
        Err(MoneyError::TooFine) => assert_ne!(nanos(money) % step, 0),
        Err(MoneyError::TooLarge) => assert!(i64::try_from(nanos(money) / step).is_err()),
    }
    // Printed whatever a service says.
    assert!(!MoneyView::from(money).to_string().is_empty());
}

fn from_minor(currency: &str, minor: i64) {
    let money = Money::from_minor(currency, minor);
    assert_eq!(money.to_minor(), Ok(minor));
    let view = MoneyView::from(&money);
    assert_eq!(view.amount_minor, i128::from(minor));
    // Text has no place for the one amount whose magnitude is more than 64 bits of whole units.
    if minor != i64::MIN || minor_digits(currency) > 0 {
        let decimal: Decimal = view.amount.parse().expect("what is printed can be read");
        assert_eq!(decimal.to_minor(currency), Some(minor));
        assert_eq!(decimal.to_wire(currency), money);
        assert_eq!((decimal.is_negative(), decimal.is_zero()), (minor < 0, minor == 0));
    }
}

fn from_text(currency: &str, text: &str) {
    let Ok(decimal) = text.parse::<Decimal>() else { return };
    let wire = decimal.to_wire(currency);
    if is_currency(currency) {
        assert_eq!(decimal.to_minor(currency), wire.to_minor().ok(), "the client and the services agree");
    }
    assert_eq!(decimal.is_negative(), nanos(&wire) < 0);
    for count in [0, 1, 7, 1_000_000_000] {
        let exact = (nanos(&wire) * i128::from(count)).div_euclid(1_000_000_000);
        let fitting = exact.clamp(i64::MIN.into(), i64::MAX.into());
        assert_eq!(i128::from(decimal.floor_of(count)), fitting);
    }
}
