//! The process itself, under the names that every Prometheus client uses. Read from `/proc/self`;
//! what cannot be read is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// `USER_HZ` of proc(5): the kernel's interface has it at 100 on every architecture that we build
/// for, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let rows = [
            (
                "process_cpu_seconds_total",
                "User and system time",
                counter,
                cpu_seconds(&stat),
            ),
            (
                "process_start_time_seconds",
                "Start in Unix time",
                gauge,
                start_seconds(&stat, &boot),
            ),
            (
                "process_resident_memory_bytes",
                "Memory in use",
                gauge,
                bytes(&status, "VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space",
                gauge,
                bytes(&status, "VmSize:"),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                gauge,
                open_files(),
            ),
            (
                "process_max_fds",
                "Most open file descriptors",
                gauge,
                most_files(&limits),
            ),
        ];
        for (name, help, type_, value) in rows {
            if let Some(value) = value {
                encoder
                    .encode_descriptor(name, help, None, type_)?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// A field of `/proc/self/stat` by its number in proc(5). The second, the program's name, may hold
/// spaces and parentheses, so that counting starts after the last one.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let (user, system) = (stat_field(stat, 14)?, stat_field(stat, 15)?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, boot: &str) -> Option<f64> {
    let booted: f64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(booted + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn bytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // Reading the folder opens one more.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn most_files(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{bytes, cpu_seconds, most_files, start_seconds};

    const STAT: &str = "42 (a (b) c) S 1 42 42 0 -1 4194560 900 0 3 0 150 75 0 0 20 0 4 0 12345 \
                        10485760 2560 18446744073709551615 1 1";

    #[test]
    fn fields_are_counted_after_the_programs_name() {
        assert_eq!(cpu_seconds(STAT), Some(2.25));
        assert_eq!(start_seconds(STAT, "cpu 1 2\nbtime 1000\n"), Some(1123.45));
        assert_eq!(cpu_seconds("42 (short) S 1"), None);
        assert_eq!(start_seconds(STAT, ""), None);
    }

    #[test]
    fn sizes_are_bytes() {
        let status = "Name:\ta\nVmSize:\t   20 kB\nVmRSS:\t    8 kB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(8192.0));
        assert_eq!(bytes(status, "VmSize:"), Some(20480.0));
        assert_eq!(bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(most_files(limits), Some(1024.0));
        assert_eq!(most_files("Max open files            unlimited"), None);
    }
}
