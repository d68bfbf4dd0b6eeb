//! One measurement of orders, on a whole system of this size.
use std::path::Path;

use bench::report::{Report, Setting};
use bench::shop::Plan;

use super::past;
use crate::bench::load::{self, Stocked};
use crate::bench::local::Local;
use crate::bench::system::System;
use crate::bench::whole;
use crate::client::Services;
use crate::failure::Failure;

/// Further coordinators' ports begin so far behind the services'.
const FIRST_COORDINATOR: u16 = 30;

/// What a system has in one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Lines of an order.
    pub lines: u16,
    /// SKUs that are bought.
    pub skus: u32,
    /// Coordinators.
    pub coordinators: u16,
    /// Orders that were placed before.
    pub past: u32,
}

impl Size {
    /// Where another thing grows.
    pub const USUAL: Size = Size { lines: 1, skus: 1_000, coordinators: 1, past: 0 };
}

/// Measures this plan on a system of this size; then it must be whole, by the doctor if there are at most
/// `doctor_up_to` orders: see [`whole`].
pub async fn measure(
    folder: &Path,
    port_base: u16,
    services: &Services,
    size: Size,
    plan: &Plan,
    setting: &Setting,
    doctor_up_to: u32,
) -> Result<Report, Failure> {
    let environment = if size.past > 0 { past::ENVIRONMENT } else { &[] };
    let mut system = System::start_with(folder, port_base, services, environment).await?;
    let measured = async {
        let more = system.add_coordinators(port_base + FIRST_COORDINATOR, size.coordinators - 1).await?;
        let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
        let stocked = Stocked::new(&system.services, &more, plan, setting.connections, |_| {}).await?;
        if size.past > 0 {
            let written = bench::store::past::write(&local.servers, &stocked.shop, &plan.run, size.past.into()).await;
            written.map_err(Failure::new)?;
        }
        let (report, _) = load::run_stocked(&stocked, Some(&local), plan, setting, setting.measured).await?;
        let orders = u64::from(size.past) + report.orders.confirmed;
        // Only orders of one line have totals that agree.
        let doctor_up_to = if size.lines > 1 { u32::MAX } else { doctor_up_to };
        whole::check(&system, &local, orders, doctor_up_to).await?;
        Ok(report)
    };
    let measured = measured.await;
    system.remove().await?;
    measured
}
