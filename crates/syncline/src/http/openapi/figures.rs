//! What figures look like, for the document: the runtime that takes them knows nothing of it. A
//! test compares these with what is answered.

#![allow(dead_code, reason = "only the shapes count")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// All figures at one moment.
#[derive(ToSchema)]
pub(in crate::http) struct Stats {
    time_ms: i64,
    epoch: u64,
    /// `running`, `finished` or `failed`.
    state: String,
    uptime_s: f64,
    rows_per_s: f64,
    rows_total: u64,
    errors_per_s: f64,
    /// Rejected rows among all rows of the last ten seconds, 0 to 1.
    error_rate: f64,
    dead_letters_total: u64,
    latency: Option<Latency>,
    watermark: Option<String>,
    watermark_lag_s: Option<f64>,
    epoch_ms: f64,
    journal_bytes: u64,
    state_bytes: u64,
    resident_bytes: u64,
    sources: BTreeMap<String, SourceStats>,
    /// By the id of the node in the graph.
    operators: BTreeMap<String, OperatorStats>,
    views: BTreeMap<String, ViewStats>,
    sinks: BTreeMap<String, SinkStats>,
    alerts: BTreeMap<String, AlertStats>,
}

/// Time from reading a row to its results being durable in a sink, over the last ten seconds.
#[derive(ToSchema)]
struct Latency {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

#[derive(ToSchema)]
struct SourceStats {
    /// `running`, `retrying`, `finished` or `failed`.
    state: String,
    error: Option<String>,
    rows_total: u64,
    rows_per_s: f64,
    rejected_total: u64,
    watermark: Option<String>,
}

#[derive(ToSchema)]
struct OperatorStats {
    rows_in: u64,
    rows_out: u64,
    rows_per_s: f64,
    /// Share of the last second spent working, 0 to 1.
    busy_ratio: f64,
    state_rows: u64,
    /// Bytes of memory that the state takes.
    state_bytes: u64,
}

#[derive(ToSchema)]
struct ViewStats {
    rows: usize,
    changes_per_s: f64,
}

#[derive(ToSchema)]
struct SinkStats {
    /// `running`, `retrying`, `finished` or `failed`.
    state: String,
    error: Option<String>,
    rows_total: u64,
    pending_epochs: usize,
    epoch: u64,
}

#[derive(ToSchema)]
struct AlertStats {
    /// Rows that fire now.
    active: usize,
}

/// The past, oldest first.
#[derive(ToSchema)]
pub(in crate::http) struct History {
    points: Vec<Point>,
}

/// One second of the past.
#[derive(ToSchema)]
struct Point {
    time_ms: i64,
    rows_per_s: f64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    error_rate: f64,
    watermark_lag_s: Option<f64>,
}
