//! How much memory processes have, as the kernel counts it in /proc.
use std::fs;

/// Bytes of a process that are in memory; `None` if it does not run.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_part_is_told() {
        assert_eq!(parse("Name:\tx\nVmPeak:\t  99 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(parse("Name:\tkernel thread\n"), None);
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert_eq!(resident_bytes(0), None);
    }
}
