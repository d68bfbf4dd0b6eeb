//! What a name or a number in a message may be: the same in every service that meets it, because what one let through
//! and another refused would leave a transaction that can't be prepared.
//!
//! Each check answers what is wrong, as the end of a sentence that begins with the field's name.

/// Lines of one order, at most.
pub const MAX_LINES: usize = 2_000;
/// Reservations that one order names, at most.
pub const MAX_RESERVATIONS: usize = 100;
/// SKUs that one call follows, at most.
pub const MAX_WATCHED: usize = 100;
/// Characters of a reason or a remark, at most.
pub const MAX_TEXT: usize = 500;
/// SKUs that one call reads, at most.
pub const MAX_READ: usize = 1_000;
/// Of one line, at most.
pub const MAX_QUANTITY: i64 = 1_000_000_000;

/// An article's name.
pub fn check_sku(sku: &str) -> Result<(), String> {
    match (1..=64).contains(&sku.chars().count()) && !sku.chars().any(char::is_control) && sku.trim() == sku {
        true => Ok(()),
        false => Err("must be 1 to 64 printable characters without spaces around them".to_owned()),
    }
}

/// The name of a customer's account.
pub fn check_account(account: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=64).contains(&account.len()) && account.bytes().all(allowed) {
        true => Ok(()),
        false => Err("must be 1 to 64 letters, digits or any of - _ .".to_owned()),
    }
}

/// A client's name for a request.
pub fn check_request_id(request_id: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    match (1..=256).contains(&request_id.len()) && request_id.bytes().all(allowed) {
        true => Ok(()),
        false => Err("must be 1 to 256 letters, digits or any of - _ . : /".to_owned()),
    }
}

/// What a person says of something, or nothing.
pub fn check_text(text: &str) -> Result<(), String> {
    match text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(format!("must be at most {MAX_TEXT} printable characters")),
    }
}

/// How many lines an order has.
pub fn check_line_count(count: usize) -> Result<(), String> {
    match (1..=MAX_LINES).contains(&count) {
        true => Ok(()),
        false => Err(format!("must be 1 to {MAX_LINES}, not {count}")),
    }
}

/// How many reservations an order names.
pub fn check_reservation_count(count: usize) -> Result<(), String> {
    match count <= MAX_RESERVATIONS {
        true => Ok(()),
        false => Err(format!("must be at most {MAX_RESERVATIONS}, not {count}")),
    }
}

/// How many of an article a line is for.
pub fn check_quantity(quantity: i64) -> Result<(), String> {
    match (1..=MAX_QUANTITY).contains(&quantity) {
        true => Ok(()),
        false => Err(format!("must be from 1 to {MAX_QUANTITY}, not {quantity}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_not_texts() {
        assert!(check_request_id("shop:2026/11-24_1.a").is_ok());
        for bad in ["", "a b", "ü", &"x".repeat(257)] {
            assert!(check_request_id(bad).is_err(), "{bad:?}");
        }
        assert!(check_sku("85123A Übergröße").is_ok());
        for bad in ["", " a", "a\n", "a\0b", &"ü".repeat(65)] {
            assert!(check_sku(bad).is_err(), "{bad:?}");
        }
        assert!(check_account("customer-1_a.b").is_ok());
        for bad in ["", "a:b", "a b", &"x".repeat(65)] {
            assert!(check_account(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_both_their_limits() {
        for (quantity, fine) in [(0, false), (-1, false), (1, true), (MAX_QUANTITY, true), (MAX_QUANTITY + 1, false)] {
            assert_eq!(check_quantity(quantity).is_ok(), fine, "{quantity}");
        }
        for (count, fine) in [(0, false), (1, true), (MAX_LINES, true), (MAX_LINES + 1, false)] {
            assert_eq!(check_line_count(count).is_ok(), fine, "{count}");
        }
    }
}
