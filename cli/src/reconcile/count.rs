//! `assent reconcile --count`: what was counted against what is on hand, and the difference as movements.
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use proto::assent::inventory::v1 as wire;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tonic::Code;

use super::count_file::Count;
use super::read;
use crate::client::Services;
use crate::failure::{Call, Exit, Failure, reason};
use crate::output::{Output, table, thousands};

const PER_PAGE: i32 = 1_000;
/// Differences that a person is shown; JSON has them all.
const SHOWN: usize = 50;

#[derive(Debug, Serialize)]
struct Compared {
    agrees: bool,
    counted: u64,
    differences: Vec<Difference>,
    /// SKUs of which there is something on hand, and which were not counted.
    not_counted: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Difference {
    sku: String,
    counted: i64,
    on_hand: i64,
    difference: i64,
    /// "adjusted", "adjusted before" (by the same file), or why not; only if it was to be adjusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

/// Runs the verb. `adjust`: the stock is to be adjusted, without asking or not.
pub async fn run(
    services: &Services,
    file: &Path,
    time: Option<DateTime<Utc>>,
    adjust: Option<bool>,
    output: Output,
) -> Result<(), Failure> {
    let count = Count::of_file(file)?;
    let on_hand = match time {
        None => on_hand(services).await?,
        Some(time) => on_hand_at(services, time, count.counted.keys()).await?,
    };
    let difference = |(sku, counted): (&String, &i64)| {
        let on_hand = on_hand.get(sku).copied().unwrap_or_default();
        let difference = counted - on_hand;
        (difference != 0).then(|| Difference {
            sku: sku.clone(),
            counted: *counted,
            on_hand,
            difference,
            outcome: None,
        })
    };
    let differences: Vec<Difference> = count.counted.iter().filter_map(difference).collect();
    let not_counted = on_hand.iter().filter(|(sku, on_hand)| **on_hand > 0 && !count.counted.contains_key(*sku));
    let mut compared = Compared {
        agrees: differences.is_empty(),
        counted: count.counted.len() as u64,
        differences,
        not_counted: not_counted.map(|(sku, _)| sku.clone()).collect(),
    };
    let Some(without_asking) = adjust.filter(|_| !compared.agrees) else {
        output.print(&compared, page)?;
        return match compared.agrees {
            true => Ok(()),
            false => Err(Failure::new(format!("{} of {} SKUs differ", compared.differences.len(), compared.counted))
                .hint("--adjust turns the differences into movements")),
        };
    };
    if !without_asking {
        eprintln!("{}", page(&compared));
        confirm(compared.differences.len())?;
    }
    let failed = adjust_all(services, &count.key, &mut compared.differences).await;
    output.print(&compared, page)?;
    failed
}

async fn on_hand(services: &Services) -> Result<BTreeMap<String, i64>, Failure> {
    let mut client = services.stock().await?;
    let (mut on_hand, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = services.request(wire::ListStockRequest { page_size: PER_PAGE, page_token });
        let page = read(client.list_stock(request).await, "the stock")?;
        on_hand.extend(page.items.into_iter().map(|item| (item.sku, item.on_hand)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(on_hand);
        }
    }
}

async fn on_hand_at(
    services: &Services,
    time: DateTime<Utc>,
    skus: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, i64>, Failure> {
    let mut client = services.stock().await?;
    let mut on_hand = BTreeMap::new();
    for sku in skus {
        let read_time = Some(SystemTime::from(time).into());
        let request = wire::GetStockRequest { sku: sku.clone(), read_time, ..Default::default() };
        match client.get_stock(services.request(request)).await {
            Err(status) if status.code() == Code::NotFound => (),
            answer => drop(on_hand.insert(sku.clone(), read(answer, sku)?.item.map_or(0, |item| item.on_hand))),
        }
    }
    Ok(on_hand)
}

fn confirm(count: usize) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is nobody to ask").hint("--yes adjusts without asking"));
    }
    eprint!("adjust {count} SKUs by these differences? Type yes: ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim().eq_ignore_ascii_case("yes") {
        true => Ok(()),
        false => Err(Failure::new("nothing was adjusted")),
    }
}

/// Adjusts by the differences, each once for a file, whatever happens on the way.
async fn adjust_all(services: &Services, key: &str, differences: &mut [Difference]) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let mut refused = 0;
    for difference in differences {
        let digest = Sha256::digest(&difference.sku);
        let sku_key: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let request = services.request(wire::AdjustStockRequest {
            sku: difference.sku.clone(),
            delta: difference.difference,
            request_id: format!("count:{key}:{sku_key}"),
            counted: true,
            ..Default::default()
        });
        difference.outcome = Some(match client.adjust_stock(request).await {
            Ok(_) => "adjusted".to_owned(),
            // Since then it has moved; what this file had to say of it was said.
            Err(status) if reason(&status).as_deref() == Some("REQUEST_ID_REUSED") => "adjusted before".to_owned(),
            Err(status) => {
                let failure = Failure::of_status(&status, Call::Write);
                if failure.exit != Exit::Refused {
                    return Err(failure.hint("repeat it with the same file: what was adjusted is not adjusted again"));
                }
                refused += 1;
                failure.message
            }
        });
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure { exit: Exit::Refused, ..Failure::new(format!("{refused} SKUs could not be adjusted")) }),
    }
}

fn page(compared: &Compared) -> String {
    let counted = thousands(compared.counted);
    let mut text = match compared.agrees {
        true => format!("all {counted} counted SKUs agree"),
        false => {
            let row = |one: &Difference| {
                let figures = [one.counted, one.on_hand].map(|figure| figure.to_string());
                let [counted, on_hand] = figures;
                let outcome = one.outcome.clone().unwrap_or_default();
                vec![one.sku.clone(), counted, on_hand, format!("{:+}", one.difference), outcome]
            };
            let rows = compared.differences.iter().take(SHOWN).map(row).collect();
            let mut text = table(&["sku", "counted", "on hand", "difference", ""], &[1, 2, 3], rows);
            if compared.differences.len() > SHOWN {
                text.push_str(&format!("\nand {} more", compared.differences.len() - SHOWN));
            }
            format!("{text}\n\n{} of {counted} counted SKUs differ", thousands(compared.differences.len() as u64))
        }
    };
    if !compared.not_counted.is_empty() {
        let shown: Vec<&str> = compared.not_counted.iter().take(5).map(String::as_str).collect();
        let count = thousands(compared.not_counted.len() as u64);
        text.push_str(&format!("; {count} with stock were not counted: {} ...", shown.join(", ")));
    }
    text
}
