//! Names, ids and page tokens: what is taken can be stored and told apart, and leads where it came from.
#![no_main]
use arbitrary::{Result, Unstructured};
use participant::transaction::read_id;
use participant::{TransactionRef, caller, paging};
use proto::assent::transaction::v1 as api;
use proto::limits;
use tonic::Request;
use tonic::metadata::MetadataValue;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        names(text);
        token(text);
        id(text);
    }
    client(data);
    let _ = pages(data);
});

fn names(text: &str) {
    let storable = !text.contains('\0') && !text.is_empty() && text.len() <= 4 * 64;
    assert!(storable || limits::check_sku(text).is_err());
    assert!(storable || limits::check_account(text).is_err());
    // What follows the ledger's own names can't be an account of a customer.
    assert!(!text.starts_with("assent:") || limits::check_account(text).is_err());
    assert!(storable || limits::check_request_id(text).is_err());
}

/// A token that is taken is one that was given out.
fn token(text: &str) {
    let list = ["stock"];
    if let Ok(Some(position)) = paging::position(text, &list) {
        assert_eq!(paging::cut(vec![(), ()], 1, &list, |()| position).1, text);
    }
}

fn id(text: &str) {
    if let Ok(id) = read_id("id", text) {
        assert_eq!(read_id("id", &id.to_string()).ok(), Some(id));
    }
}

fn client(data: &[u8]) {
    let Ok(value) = MetadataValue::try_from(data) else { return };
    let mut request = Request::new(());
    request.metadata_mut().insert("assent-client-id", value);
    if let Ok(name) = caller::client_id(&request) {
        assert!((1..=128).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name:?}");
    }
}

fn pages(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let (position, filter, other): (String, String, String) = input.arbitrary()?;
    if limits::check_sku(&position).is_ok() && filter != other {
        let token = paging::cut(vec![(), ()], 1, &["list", &filter], |()| position.clone()).1;
        if token.len() <= 8_192 && !filter.contains('\0') {
            assert_eq!(paging::position(&token, &["list", &filter]).ok(), Some(Some(position)));
        }
        assert!(paging::position(&token, &["list", &other]).is_err());
    }
    let reference = api::TransactionRef { transaction_id: input.arbitrary()?, deadline_unix_ms: input.arbitrary()? };
    if let Ok(read) = TransactionRef::read("transaction", Some(reference)) {
        assert!(read.deadline_unix_ms > 0);
        assert_eq!(TransactionRef::read("transaction", Some(read.into())).ok(), Some(read));
    }
    if let Ok(size) = paging::page_size(input.arbitrary()?) {
        assert!((1..=1_000).contains(&size));
    }
    Ok(())
}
