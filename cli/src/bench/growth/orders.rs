//! One measurement of orders, on a whole system of this size.
use std::path::Path;

use bench::report::{Report, Setting};
use bench::shop::Plan;

use crate::bench::load;
use crate::bench::local::Local;
use crate::bench::system::System;
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
}

impl Size {
    /// Where another thing grows.
    pub const USUAL: Size = Size { lines: 1, skus: 1_000, coordinators: 1 };
}

/// Measures this plan on a system of this size.
pub async fn measure(
    folder: &Path,
    port_base: u16,
    services: &Services,
    size: Size,
    plan: &Plan,
    setting: &Setting,
) -> Result<Report, Failure> {
    let mut system = System::start(folder, port_base, services).await?;
    let measured = async {
        let more = system.add_coordinators(port_base + FIRST_COORDINATOR, size.coordinators - 1).await?;
        let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
        let report = load::run_at(&system.services, &more, Some(&local), plan, setting, |_| {}).await?;
        match system.is_healthy().await? {
            true => Ok(report),
            false => Err(Failure::new("an invariant does not hold after the load; its figures are worth nothing")),
        }
    };
    let measured = measured.await;
    system.remove().await?;
    measured
}
