//! Signatures of webhooks: `t=UNIX_SECONDS,v1=HEX`, the HMAC-SHA256 of `UNIX_SECONDS.BODY` under a shared secret.
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How old a signature may be, either way: clocks differ.
const TOLERANCE_SECONDS: i64 = 300;

/// Whether the body was signed with the secret, not long ago.
pub fn is_valid(secret: &str, header: &str, body: &[u8], now_unix_seconds: i64) -> bool {
    let part = |name: &str| header.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(at), Some(signature)) = (part("t"), part("v1").and_then(from_hex)) else { return false };
    let is_recent = at
        .parse::<i64>()
        .is_ok_and(|at| now_unix_seconds.saturating_sub(at).unsigned_abs() <= TOLERANCE_SECONDS as u64);
    // Compared in constant time.
    is_recent && mac(secret, at, body).verify_slice(&signature).is_ok()
}

fn mac(secret: &str, at: &str, body: &[u8]) -> Hmac<Sha256> {
    // A key of any length is taken.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| unreachable!("any length"));
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &str, at: i64, body: &[u8]) -> String {
        let code = mac(secret, &at.to_string(), body).finalize().into_bytes();
        format!("t={at},v1={}", code.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    #[test]
    fn only_what_was_signed_with_the_secret_and_not_long_ago_is_taken() {
        let header = sign("secret", 1_000, b"body");
        assert!(is_valid("secret", &header, b"body", 1_000));
        assert!(is_valid("secret", &header, b"body", 1_300));
        assert!(!is_valid("secret", &header, b"body", 1_301));
        assert!(!is_valid("secret", &header, b"bodY", 1_000));
        assert!(!is_valid("other", &header, b"body", 1_000));
        let later = header.replace("t=1000", "t=1001");
        for header in ["", "t=1000", "v1=00", "t=x,v1=00", "t=1000,v1=zz", "t=1000,v1=0", later.as_str()] {
            assert!(!is_valid("secret", header, b"body", 1_000), "{header:?}");
        }
        // As computed by `printf 1000.body | openssl dgst -sha256 -hmac secret`.
        assert!(header.ends_with(EXPECTED), "{header}");
    }

    const EXPECTED: &str = "b758bf26aabb35e5311bc10fd17ab6ad0881e9717e7d5fa7e233f3cea6868b45";
}
