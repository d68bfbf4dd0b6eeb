//! What a system needs that has a past: room for it, and that it stays.
use std::path::Path;

use bench::store::past::needed_bytes;
use nix::sys::statvfs::statvfs;

use crate::failure::Failure;

/// For its services: nothing of the past, whose deadlines are over, is collected while it is measured.
pub const ENVIRONMENT: &[(&str, &str)] = &[("ASSENT_WATERMARK_LAG_MS", "86400000")];
/// What is left free for everything else.
const SPARE_BYTES: u64 = 1 << 30;

/// Fails if there is no room in `data_dir` for so many past orders.
pub fn check_room(data_dir: &Path, orders: u32) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot tell how much room there is in {}: {error}", data_dir.display()))
    };
    std::fs::create_dir_all(data_dir).map_err(|error| failed(&error))?;
    let told = statvfs(data_dir).map_err(|error| failed(&error))?;
    lacking(told.blocks_available() * told.fragment_size(), orders)
        .map_or(Ok(()), |said| Err(Failure::new(format!("{said} in {}", data_dir.display()))))
}

fn lacking(free: u64, orders: u32) -> Option<String> {
    let needed = needed_bytes(orders.into()) + SPARE_BYTES;
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    (free < needed)
        .then(|| format!("{orders} past orders need {} of disk, and {} are free", gigabytes(needed), gigabytes(free)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_orders_need_so_much_room() {
        let said = lacking(5_000_000_000, 10_000_000).unwrap();
        assert_eq!(said, "10000000 past orders need 27.1 GB of disk, and 5.0 GB are free");
        assert_eq!(lacking(40_000_000_000, 10_000_000), None);
    }
}
