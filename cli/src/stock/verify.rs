//! `assent stock rebuild --verify`: whether the ledger comes to the stock that is there.
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, table, thousands};

/// SKUs that are asked for at a time: a few, because each may have a long history.
const SKUS: i32 = 100;

#[derive(Debug, Serialize)]
struct DifferenceView {
    sku: String,
    /// "on_hand", "held", "reserved", "buffer", "damaged", "quality_control", "version", "stock", "sequence" or "movement".
    differs: String,
    sequence: Option<i64>,
    reference: String,
    detail: String,
}

#[derive(Debug, Default, Serialize)]
struct Verified {
    skus: u64,
    movements: u64,
    differences: Vec<DifferenceView>,
}

/// Runs the verb.
pub async fn run(services: &Services, output: Output) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let mut verified = Verified::default();
    let mut page_token = String::new();
    loop {
        let request = services.request(wire::VerifyStockRequest { page_size: SKUS, page_token });
        let page = client.verify_stock(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        verified.skus += u64::try_from(page.sku_count).unwrap_or_default();
        verified.movements += u64::try_from(page.movement_count).unwrap_or_default();
        verified.differences.extend(page.differences.into_iter().map(|difference| DifferenceView {
            sku: difference.sku,
            differs: difference.differs,
            sequence: Some(difference.sequence).filter(|sequence| *sequence != 0),
            reference: difference.reference,
            detail: difference.detail,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.print(&verified, page_of)?;
    let skus = verified.differences.iter().map(|difference| difference.sku.as_str());
    let mut skus: Vec<&str> = skus.collect();
    skus.dedup();
    match skus.as_slice() {
        [] => Ok(()),
        [sku] => Err(Failure::new(format!("stock and ledger of {sku} differ"))),
        [sku, others @ ..] => Err(Failure::new(format!("stock and ledger of {sku} and {} more differ", others.len()))),
    }
}

fn page_of(verified: &Verified) -> String {
    let movements = thousands(verified.movements);
    if verified.differences.is_empty() {
        return format!("stock and ledger agree, over {movements} movements");
    }
    let row = |difference: &DifferenceView| {
        let sequence = difference.sequence.map(|sequence| sequence.to_string()).unwrap_or_default();
        let texts = [&difference.reference, &difference.detail].map(String::clone);
        [difference.sku.clone(), difference.differs.clone(), sequence].into_iter().chain(texts).collect()
    };
    let headers = ["sku", "differs", "movement", "reference", "detail"];
    let differences = table(&headers, &[2], verified.differences.iter().map(row).collect());
    format!("{differences}\n\n{movements} movements replayed")
}
