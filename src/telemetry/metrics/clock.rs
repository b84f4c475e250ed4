//! The clock as the process sees it: an alert compares it with the scraper's.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

#[derive(Debug)]
pub(super) struct Clock;

impl Collector for Clock {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        #[allow(
            clippy::disallowed_methods,
            reason = "the clock is what this metric shows"
        )]
        let now = Timestamp::now().as_second();
        let deprecated = "Deprecated: use certmanager_clock_time_seconds_gauge";
        let rows = [
            (
                "certmanager_clock_time_seconds",
                deprecated,
                MetricType::Counter,
            ),
            (
                "certmanager_clock_time_seconds_gauge",
                "The clock in Unix time",
                MetricType::Gauge,
            ),
        ];
        for (name, help, type_) in rows {
            encoder
                .encode_descriptor(name, help, None, type_)?
                .encode_gauge(&now)?;
        }
        Ok(())
    }
}
