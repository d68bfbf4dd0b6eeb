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
