//! Names of participants and of coordinators' incarnations: what they may be, and how several stand in one column.

/// Participants of one transaction, at most.
const MAX_PARTICIPANTS: usize = 64;
/// Of a name, at most, in bytes.
const MAX_BYTES: usize = 128;

/// Checks one name; the answer is the end of a sentence that begins with the field's name.
pub fn check_one(name: &str) -> Result<(), String> {
    match is_name(name) {
        true => Ok(()),
        false => Err(format!("must be 1 to {MAX_BYTES} visible ASCII characters without commas")),
    }
}

/// Checks the participants of a transaction, likewise.
pub fn check(participants: &[String]) -> Result<(), String> {
    match participants.len() <= MAX_PARTICIPANTS && participants.iter().all(|name| is_name(name)) {
        true => Ok(()),
        false => Err(format!(
            "must be at most {MAX_PARTICIPANTS} names of 1 to {MAX_BYTES} visible ASCII characters without commas"
        )),
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Names as they are stored.
pub fn join(names: &[String]) -> String {
    names.join(",")
}

/// Names from their stored form.
pub fn split(names: &str) -> Vec<String> {
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_visible_ascii_without_commas() {
        assert!(check_one("inventory-2:a").is_ok());
        for bad in ["", "a,b", "a b", "a\0", "ü", &"x".repeat(129)] {
            assert!(check_one(bad).is_err() && check(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert!(check(&[]).is_ok() && check(&vec!["a".to_owned(); 64]).is_ok());
        assert!(check(&vec!["a".to_owned(); 65]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_read_back_as_it_was(names in proptest::collection::vec("[!-~]{1,5}|.{0,5}", 0..5)) {
            if check(&names).is_ok() {
                prop_assert_eq!(split(&join(&names)), names);
            }
        }
    }
}
