//! What is read back from the databases: refusals and lines, which are stored as JSON, from any text; and refusals from
//! outside, which must be such that they can be stored.
#![no_main]
use arbitrary::{Result, Unstructured};
use order_svc::lines;
use participant::Refusal;
use participant::names;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        stored(text);
    }
    let _ = from_outside(data);
});

fn stored(text: &str) {
    // One that Postgres gave back has no NUL; another loses it when it is stored.
    let refusal = Refusal::from_json(text);
    let stored = Refusal::from_json(&refusal.to_json());
    assert_eq!(Refusal::from_json(&stored.to_json()), stored);
    assert!(stored == refusal || format!("{refusal:?}").contains("\\0"));
    if let Ok(read) = lines::from_json(text) {
        assert_eq!(lines::from_json(&lines::to_json(&read).expect("lines are written")).expect("and read"), read);
    }
    let read = names::split(text);
    assert!(read.iter().all(|name| !name.is_empty() && !name.contains(',')));
    assert_eq!(names::split(&names::join(&read)), read);
}

fn from_outside(data: &[u8]) -> Result<()> {
    let (reason, message, metadata, participants): (String, String, Vec<(String, String)>, Vec<String>) =
        Unstructured::new(data).arbitrary()?;
    let refusal = Refusal::from_outside(reason, message, metadata);
    let json = refusal.to_json();
    assert_eq!(Refusal::from_json(&json), refusal);
    let texts =
        refusal.metadata.iter().flat_map(|(key, value)| [key, value]).chain([&refusal.reason, &refusal.message]);
    for text in texts {
        assert!(!text.contains('\0') && text.chars().count() <= 1_000, "{text:?} can't be stored");
    }
    if names::check(&participants).is_ok() {
        assert_eq!(names::split(&names::join(&participants)), participants);
        assert!(!names::join(&participants).contains('\0'));
    }
    Ok(())
}
