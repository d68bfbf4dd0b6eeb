//! Whether a system is whole after the load: by the doctor, who compares every order in every database, as long as they fit
//! into memory; by what all of them have left together, where they are more.
use std::time::{Duration, Instant};

use bench::store::totals::Totals;

use super::local::Local;
use super::system::System;
use crate::failure::Failure;

/// More orders than this, and the doctor is not asked: it takes some 2 kB of memory for each.
pub const DOCTOR_UP_TO: u32 = 1_000_000;
/// The doctor may read millions of rows.
const DOCTOR_PATIENCE: Duration = Duration::from_secs(3_600);
/// What has been decided is written down within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Fails unless it is. All of its orders, about `orders`, must have one line of one unit, unless the doctor is asked.
pub async fn check(system: &System, local: &Local, orders: u64, doctor_up_to: u32) -> Result<(), Failure> {
    if orders <= doctor_up_to.into() {
        return match system.is_healthy_within(DOCTOR_PATIENCE).await? {
            true => Ok(()),
            false => Err(Failure::new("an invariant does not hold after the load; its figures are worth nothing")),
        };
    }
    eprintln!("of so many orders the totals are compared; the doctor is asked for up to {doctor_up_to}");
    let begun = Instant::now();
    loop {
        let totals = Totals::read(&local.servers).await.map_err(Failure::new)?;
        if totals.agree() {
            return Ok(());
        }
        if begun.elapsed() > SETTLED_WITHIN {
            return Err(Failure::new(format!("the databases do not agree after the load: {totals:?}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
