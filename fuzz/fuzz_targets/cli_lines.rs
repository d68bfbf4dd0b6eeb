//! `SKU:QTY@PRICE` as it is typed: what is taken is a line that means what was typed.
#![no_main]
use cli::OrderLine;
use cli::money::MoneyView;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(line) = text.parse::<OrderLine>() else { return };
    for currency in ["GBP", "JPY", "KWD"] {
        let wire = line.clone().into_wire(currency);
        assert!(!wire.sku.is_empty() && wire.quantity >= 1 && text.starts_with(&wire.sku));
        let price = wire.unit_price.clone().expect("a price");
        let Ok(minor) = price.to_minor() else { continue };
        assert!(minor >= 0);
        let typed = format!("{}:{}@{}", wire.sku, wire.quantity, MoneyView::from(&price).amount);
        assert_eq!(typed.parse::<OrderLine>().expect("it can be typed again").into_wire(currency), wire);
    }
});
