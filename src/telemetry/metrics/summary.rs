//! A summary, which prometheus-client does not have and cert-manager's name asks for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::time::Duration;

use parking_lot::Mutex;

use super::AcmeRequest;

const NAME: &str = "certmanager_http_acme_client_request_duration_seconds";
const QUANTILES: [(&str, usize); 3] = [("0.5", 50), ("0.9", 90), ("0.99", 99)];
/// The quantiles are those of the last so many requests of a series: 1 KiB each.
const KEPT: usize = 256;

/// Durations of requests to ACME servers.
#[derive(Default)]
pub(super) struct Summary(Mutex<BTreeMap<AcmeRequest, Series>>);

#[derive(Default)]
struct Series {
    seconds: f64,
    count: u64,
    last: VecDeque<f32>,
}

impl Summary {
    pub(super) fn observe(&self, request: AcmeRequest, took: Duration) {
        let mut all = self.0.lock();
        let series = all.entry(request).or_default();
        series.seconds += took.as_secs_f64();
        series.count += 1;
        if series.last.len() == KEPT {
            series.last.pop_front();
        }
        series.last.push_back(took.as_secs_f32());
    }

    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        let all = self.0.lock();
        if all.is_empty() {
            return Ok(());
        }
        writeln!(out, "# HELP {NAME} Time that requests to ACME servers took")?;
        writeln!(out, "# TYPE {NAME} summary")?;
        for (request, series) in all.iter() {
            let labels = labels(request);
            let mut sorted: Vec<f32> = series.last.iter().copied().collect();
            sorted.sort_by(f32::total_cmp);
            for (name, percent) in QUANTILES {
                let value = nearest_rank(&sorted, percent).unwrap_or(f32::NAN);
                writeln!(out, "{NAME}{{{labels},quantile=\"{name}\"}} {value}")?;
            }
            writeln!(out, "{NAME}_sum{{{labels}}} {}", series.seconds)?;
            writeln!(out, "{NAME}_count{{{labels}}} {}", series.count)?;
        }
        Ok(())
    }
}

/// The smallest value that at least so many percent do not exceed.
fn nearest_rank(sorted: &[f32], percent: usize) -> Option<f32> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn labels(request: &AcmeRequest) -> String {
    let AcmeRequest {
        scheme,
        host,
        action,
        method,
        status,
    } = request;
    format!(
        "scheme=\"{}\",host=\"{}\",action=\"{action}\",method=\"{method}\",status=\"{status}\"",
        escaped(scheme),
        escaped(host),
    )
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{AcmeRequest, Duration, KEPT, Summary, nearest_rank};

    fn request(host: &str) -> AcmeRequest {
        AcmeRequest {
            scheme: "https".to_owned(),
            host: host.to_owned(),
            action: "get_order",
            method: "POST",
            status: 200,
        }
    }

    #[test]
    fn the_nearest_rank_is_one_of_the_values() {
        let hundred: Vec<f32> = (1..=100_u8).map(f32::from).collect();
        assert_eq!(nearest_rank(&hundred, 50), Some(50.0));
        assert_eq!(nearest_rank(&hundred, 99), Some(99.0));
        assert_eq!(nearest_rank(&[7.0], 50), Some(7.0));
        assert_eq!(nearest_rank(&[7.0, 8.0], 90), Some(8.0));
        assert_eq!(nearest_rank(&[], 50), None);
    }

    #[test]
    fn sum_and_count_are_of_all_quantiles_of_the_last() {
        let summary = Summary::default();
        summary.observe(request("ca.example"), Duration::from_secs(1000));
        for _ in 0..KEPT {
            summary.observe(request("ca.example"), Duration::from_millis(500));
        }
        let mut out = String::new();
        assert!(summary.write(&mut out).is_ok());
        let labels =
            r#"scheme="https",host="ca.example",action="get_order",method="POST",status="200""#;
        let name = "certmanager_http_acme_client_request_duration_seconds";
        let expected = format!(
            "# HELP {name} Time that requests to ACME servers took\n# TYPE {name} summary\n\
             {name}{{{labels},quantile=\"0.5\"}} 0.5\n\
             {name}{{{labels},quantile=\"0.9\"}} 0.5\n\
             {name}{{{labels},quantile=\"0.99\"}} 0.5\n\
             {name}_sum{{{labels}}} 1128\n\
             {name}_count{{{labels}}} 257\n"
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn nothing_observed_is_nothing_written_and_labels_are_escaped() {
        let summary = Summary::default();
        let mut out = String::new();
        assert!(summary.write(&mut out).is_ok());
        assert_eq!(out, "");
        summary.observe(request("a\"b\\c\nd"), Duration::ZERO);
        assert!(summary.write(&mut out).is_ok());
        assert!(out.contains(r#"host="a\"b\\c\nd","#), "{out}");
    }
}
