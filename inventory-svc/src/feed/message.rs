//! A movement as a message: its subject, its id, and its JSON.
use chrono::SecondsFormat;
use serde::Serialize;

use crate::domain::{Balance, Movement};

/// The body. Fields are added and never change; those without a value are left out.
#[derive(Debug, Serialize)]
struct Body<'a> {
    sku: &'a str,
    sequence: i64,
    kind: &'static str,
    quantity: i64,
    on_hand: i64,
    held: i64,
    reserved: i64,
    buffer: i64,
    damaged: i64,
    quality_control: i64,
    available: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    create_time: String,
}

/// The JSON of a movement.
pub fn body(movement: &Movement) -> Result<Vec<u8>, serde_json::Error> {
    let Balance { on_hand, held, reserved, buffer, damaged, quality_control, .. } = movement.after;
    serde_json::to_vec(&Body {
        sku: &movement.sku,
        sequence: movement.sequence,
        kind: movement.kind.name(),
        quantity: movement.quantity,
        on_hand,
        held,
        reserved,
        buffer,
        damaged,
        quality_control,
        available: movement.after.available().max(0),
        transaction_id: movement.transaction_id.map(|id| id.to_string()),
        reservation_id: movement.reservation_id.map(|id| id.to_string()),
        request_id: movement.request_id.as_deref(),
        actor: movement.actor.as_deref(),
        reason: movement.reason.as_deref(),
        create_time: movement.create_time.to_rfc3339_opts(SecondsFormat::Micros, true),
    })
}

/// A SKU as one token of a subject: what is not a letter, a digit, `-` or `_` is percent-encoded, byte by byte.
pub fn token(sku: &str) -> String {
    let mut token = String::with_capacity(sku.len());
    for byte in sku.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(char::from(byte)),
            _ => token.push_str(&format!("%{byte:02X}")),
        }
    }
    token
}

/// A message's id: the SKU's token and the movement's sequence. By it the stream knows a message that it has already.
pub fn id(sku: &str, sequence: i64) -> String {
    format!("{}:{sequence}", token(sku))
}

/// The sequence in a message's id.
pub fn sequence(id: &str) -> Option<i64> {
    id.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sku_is_one_token_and_no_two_are_the_same() {
        let skus = ["85123A", "a.b", "a b", "a%2Eb", "a*", ">", "ü", "a_b", "a:b"];
        let tokens: Vec<String> = skus.iter().map(|sku| token(sku)).collect();
        assert_eq!(tokens[..4], ["85123A", "a%2Eb", "a%20b", "a%252Eb"]);
        for (place, token) in tokens.iter().enumerate() {
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-_".contains(&byte)), "{token}");
            assert!(!tokens[..place].contains(token), "{token}");
        }
        assert_eq!(sequence(&id("a:b", 17)), Some(17));
        assert_eq!(sequence("something"), None);
    }
}
