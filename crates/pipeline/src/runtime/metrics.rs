//! What a running pipeline counts and measures, as Prometheus wants it.
//!
//! Labels are names from the pipeline file and fixed words, never anything from a row.

use std::collections::BTreeSet;

use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use syncline_change::{Error, Result};

use crate::verify::report::Report;

/// Upper bounds of latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 60.0,
];
/// Upper bounds of row count buckets.
const ROW_BUCKETS: [f64; 9] =
    [0.0, 1.0, 10.0, 100.0, 1_000.0, 5_000.0, 20_000.0, 65_536.0, 262_144.0];
/// Results of verified epochs.
const VERIFIED: &str = "verified";
const MISMATCH: &str = "mismatch";

pub struct Metrics {
    registry: Registry,
    pub(super) source_records: IntCounterVec,
    pub(super) source_bytes: IntCounterVec,
    pub(super) source_lag: GaugeVec,
    pub(super) watermark_lag: GaugeVec,
    pub(super) epoch_duration: Histogram,
    pub(super) epoch_rows: Histogram,
    pub(super) last_committed_epoch: IntGauge,
    pub(super) last_committed_epoch_timestamp: Gauge,
    pub(super) e2e_latency: Histogram,
    pub(super) operator_busy: CounterVec,
    pub(super) operator_rows_in: IntCounterVec,
    pub(super) operator_rows_out: IntCounterVec,
    pub(super) state_bytes: IntGaugeVec,
    pub(super) journal_bytes: IntGauge,
    pub(super) checkpoint_duration: Histogram,
    pub(super) checkpoint_pause: Histogram,
    pub(super) sink_records: IntCounterVec,
    pub(super) sink_pending_epochs: IntGaugeVec,
    pub(super) sink_write_duration: HistogramVec,
    pub(super) retries: IntCounterVec,
    pub(super) errors: IntCounterVec,
    pub(super) dead_letters: IntCounterVec,
    verify_epochs: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(pipeline: &str) -> Result<Self> {
        let labels = [("pipeline".to_owned(), pipeline.to_owned())].into_iter().collect();
        let registry =
            Registry::new_custom(Some("syncline".to_owned()), Some(labels)).map_err(defect)?;
        let make = Maker { registry: &registry };
        let metrics = Self {
            source_records: make.counters("source_records_total", "Rows taken from a source.", &["source"])?,
            source_bytes: make.counters("source_bytes_total", "Input bytes read from a source, after decompression.", &["source"])?,
            source_lag: make.gauges("source_lag_seconds", "How long ago the source last gave anything, while it is running.", &["source"])?,
            watermark_lag: make.gauges("watermark_lag_seconds", "How far the watermark of a source is behind the present (behind the newest event, in a replay).", &["source"])?,
            epoch_duration: make.histogram("epoch_duration_seconds", "Time to compute and record an epoch.", &LATENCY_BUCKETS)?,
            epoch_rows: make.histogram("epoch_rows", "Input rows in an epoch.", &ROW_BUCKETS)?,
            last_committed_epoch: make.int_gauge("last_committed_epoch", "The last epoch that was computed and recorded.")?,
            last_committed_epoch_timestamp: make.gauge("last_committed_epoch_timestamp_seconds", "The time of the last epoch that was computed and recorded, since 1970.")?,
            e2e_latency: make.histogram("e2e_latency_seconds", "Time from reading a row to its results being durable in a sink.", &LATENCY_BUCKETS)?,
            operator_busy: make.float_counters("operator_busy_seconds_total", "Time spent in an operator.", &["operator"])?,
            operator_rows_in: make.counters("operator_rows_in_total", "Rows that went into an operator.", &["operator"])?,
            operator_rows_out: make.counters("operator_rows_out_total", "Rows that came out of an operator.", &["operator"])?,
            state_bytes: make.int_gauges("state_bytes", "Memory taken by the content of a view.", &["view"])?,
            journal_bytes: make.int_gauge("journal_bytes", "Size of the journal on disk.")?,
            checkpoint_duration: make.histogram("checkpoint_duration_seconds", "Time to hash and write a checkpoint, beside the epochs.", &LATENCY_BUCKETS)?,
            checkpoint_pause: make.histogram("checkpoint_pause_seconds", "Time for which epochs wait while what has changed of the state is handed over.", &LATENCY_BUCKETS)?,
            sink_records: make.counters("sink_records_total", "Changed rows that are durable in a sink.", &["sink"])?,
            sink_pending_epochs: make.int_gauges("sink_pending_epochs", "Epochs that wait for a sink.", &["sink"])?,
            sink_write_duration: make.histograms("sink_write_duration_seconds", "Time of a write to a sink until it is durable.", &["sink"])?,
            retries: make.counters("retries_total", "Writes to a sink that were tried again.", &["sink"])?,
            errors: make.counters("errors_total", "Errors by what is to be done about them.", &["error_type"])?,
            dead_letters: make.counters("dead_letters_total", "Rows that became dead letters.", &["source", "stage", "error_type"])?,
            verify_epochs: make.counters("verify_epochs_total", "Epochs that were verified, by result.", &["result"])?,
            registry: registry.clone(),
        };
        // From the start, so that an alarm can wait for the first mismatch.
        for result in [VERIFIED, MISMATCH] {
            metrics.verify_epochs.with_label_values(&[result]);
        }
        let info =
            make.int_gauges("build_info", "The version of Syncline, as a label.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// Counts the epochs that a verification looked at. Something that differs in no epoch of its own,
    /// such as the lock, counts as one.
    pub fn count_verified(&self, report: &Report) {
        let differing: BTreeSet<_> = report.mismatches.iter().map(|m| m.epoch).collect();
        let differing = differing.len() as u64;
        let epochs = report.input.as_ref().map_or(0, |input| input.epochs);
        self.verify_epochs.with_label_values(&[MISMATCH]).inc_by(differing);
        self.verify_epochs.with_label_values(&[VERIFIED]).inc_by(epochs.saturating_sub(differing));
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(defect)
    }
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<M>,
    ) -> Result<M> {
        let metric = made.map_err(defect)?;
        self.registry.register(Box::new(metric.clone())).map_err(defect)?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec> {
        self.keep(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.keep(Gauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.keep(IntGauge::new(name, help))
    }

    fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(Histogram::with_opts(options))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        self.keep(HistogramVec::new(options, labels))
    }
}

fn defect(error: prometheus::Error) -> Error {
    Error::bug("a metric cannot be kept").detail(error.to_string())
}
