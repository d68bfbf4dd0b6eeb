//! Lines as they are stored: `[[sku, quantity, unit_price_minor], ...]`.
use crate::domain::Line;

/// To their stored form.
pub fn to_json(lines: &[Line]) -> Result<String, sqlx::Error> {
    let lines: Vec<_> = lines.iter().map(|line| (&line.sku, line.quantity, line.unit_price_minor)).collect();
    serde_json::to_string(&lines).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// From their stored form.
pub fn from_json(json: &str) -> Result<Vec<Line>, sqlx::Error> {
    let lines: Vec<(String, i64, i64)> =
        serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let line = |(sku, quantity, unit_price_minor)| Line { sku, quantity, unit_price_minor };
    Ok(lines.into_iter().map(line).collect())
}
