//! Pages of a list: their size, and the tokens that lead from one to the next.
use tonic::Status;

use crate::status::invalid;

/// Entries on a page when the request doesn't say.
pub const DEFAULT_PAGE_SIZE: i32 = 50;
/// Entries on a page, at most; a larger request gets this many.
pub const MAX_PAGE_SIZE: i32 = 1_000;

/// The page size to use for the one that was asked for.
pub fn page_size(requested: i32) -> Result<usize, Status> {
    match requested {
        0 => Ok(to_usize(DEFAULT_PAGE_SIZE)),
        size if size < 0 => Err(invalid("page_size", format!("must be zero or more, not {size}"))),
        size => Ok(to_usize(size.min(MAX_PAGE_SIZE))),
    }
}

fn to_usize(size: i32) -> usize {
    usize::try_from(size).unwrap_or_default()
}

/// Cuts what was read with a limit of one more than `page_size`, and makes the token of the page after it.
///
/// `list` names the list with its filters: a token is good for these alone. `position` tells where an entry stands.
pub fn cut<T>(
    mut read: Vec<T>,
    page_size: usize,
    list: &[&str],
    position: impl FnOnce(&T) -> String,
) -> (Vec<T>, String) {
    let more = read.len() > page_size;
    read.truncate(page_size);
    let token = match read.last() {
        Some(last) if more => encode(list, &position(last)),
        _ => String::new(),
    };
    (read, token)
}

/// The position that a token stands for; none for an empty one.
pub fn position(token: &str, list: &[&str]) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let broken = || invalid("page_token", "is none that this service gave out");
    let text = decode(token).ok_or_else(broken)?;
    let (filters, position) = text.rsplit_once(SEPARATOR).ok_or_else(broken)?;
    if filters != joined(list) {
        return Err(invalid("page_token", "belongs to a list with other filters; repeat them from page to page"));
    }
    Ok(Some(position.to_owned()))
}

/// Never part of a filter or a position: those are names and ids without control characters.
const SEPARATOR: char = '\u{1f}';

fn joined(list: &[&str]) -> String {
    list.join(&SEPARATOR.to_string())
}

fn encode(list: &[&str], position: &str) -> String {
    let text = format!("{}{SEPARATOR}{position}", joined(list));
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(token: &str) -> Option<String> {
    // Only as `encode` writes it: from_str_radix takes capitals and a sign as well.
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !token.bytes().all(is_digit) || !token.len().is_multiple_of(2) || token.len() > 8_192 {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..token.len()).step_by(2).map(|at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok()).collect();
    // Postgres takes no NUL in a text.
    String::from_utf8(bytes?).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_on_in_its_own_list_only() {
        let (page, token) = cut(vec!["a", "bé", "c"], 2, &["stock", "x"], |entry| (*entry).to_owned());
        assert_eq!(page, ["a", "bé"]);
        assert_eq!(position(&token, &["stock", "x"]).unwrap(), Some("bé".to_owned()));
        assert!(position(&token, &["stock", "y"]).is_err());
        for bad in ["zz", "a", "ü", "00ff", "6161", "73746f636b1f781f00", "73746F636b1f781f61", "73746f636b1f781f+9"] {
            assert!(position(bad, &["stock", "x"]).is_err(), "{bad}");
        }
        assert_eq!(position("", &["stock"]).unwrap(), None);
        assert_eq!(cut(vec!["a", "b"], 2, &[], |entry| (*entry).to_owned()).1, "");
    }

    #[test]
    fn page_sizes_are_clamped_but_never_negative() {
        assert_eq!(page_size(0).unwrap(), 50);
        assert_eq!(page_size(7).unwrap(), 7);
        assert_eq!(page_size(i32::MAX).unwrap(), 1_000);
        assert!(page_size(-1).is_err());
    }
}
