//! Orders as clients may ask for them, more often near what is allowed than far from it.
use arbitrary::{Result, Unstructured};
use proto::assent::order::v1::{OrderLine, PlaceOrderRequest};
use proto::google::r#type::Money;
use proto::limits::{MAX_LINES, MAX_QUANTITY};

/// Names, of articles and others, some of them just too long or otherwise wrong.
const NAMES: [&str; 6] = ["A", "85123A", "white metal lantern", "Übergröße ß", " a", "a\0"];

/// An order.
pub fn request(input: &mut Unstructured<'_>) -> Result<PlaceOrderRequest> {
    let currency = currency(input)?;
    let count = input.int_in_range(0..=8)?;
    let mut lines = (0..count).map(|_| line(input, &currency)).collect::<Result<Vec<_>>>()?;
    if let Some(first) = lines.first().cloned()
        && input.ratio(1, 50)?
    {
        lines.resize(MAX_LINES + usize::from(input.ratio(1, 2)?), first);
    }
    let reservation_ids = Vec::new();
    let (request_id, account, mode) = (name(input)?, name(input)?, input.arbitrary()?);
    Ok(PlaceOrderRequest {
        request_id,
        account,
        lines,
        timeout_ms: input.arbitrary()?,
        mode,
        reservation_ids,
        ..Default::default()
    })
}

fn line(input: &mut Unstructured<'_>, of_order: &str) -> Result<OrderLine> {
    let of_line = if input.ratio(1, 20)? { currency(input)? } else { of_order.to_owned() };
    let quantity = match input.int_in_range(0..=4)? {
        0 => input.arbitrary()?,
        1 => MAX_QUANTITY + input.int_in_range(-1..=1)?,
        _ => input.int_in_range(1..=9)?,
    };
    Ok(OrderLine { sku: name(input)?, quantity, unit_price: Some(money(input, &of_line)?), ..OrderLine::default() })
}

/// An amount: what minor units make, or whatever a client may write.
pub fn money(input: &mut Unstructured<'_>, currency: &str) -> Result<Money> {
    let minor: i64 = match input.int_in_range(0..=3)? {
        0 => input.arbitrary()?,
        1 => i64::MAX / i64::from(input.int_in_range(1..=3_i32)?),
        _ => input.int_in_range(-1..=100_000)?,
    };
    if input.ratio(1, 4)? {
        return Ok(Money { currency_code: currency.to_owned(), units: minor, nanos: input.arbitrary()? });
    }
    Ok(Money::from_minor(currency, minor))
}

/// A currency of 0, 2 or 3 digits, or what is none.
pub fn currency(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=9)? {
        0 => input.arbitrary::<String>()?,
        1 => (0..3).map(|_| Ok(char::from(input.int_in_range(b'A'..=b'Z')?))).collect::<Result<_>>()?,
        2..=3 => "JPY".to_owned(),
        4..=5 => "KWD".to_owned(),
        _ => "GBP".to_owned(),
    })
}

fn name(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=7)? {
        0 => input.arbitrary::<String>()?,
        1 => "ü".repeat(input.int_in_range(62..=66)?),
        2 => "x".repeat(input.int_in_range(0..=66)?),
        _ => (*input.choose(&NAMES)?).to_owned(),
    })
}
