//! Figures for people: rates, percentiles, and how they went over the last minutes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use syncline_change::json;
use syncline_engine::NodeStats;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::state::{LATENCY_WINDOW_NANOS, Live, Shared};
use super::status::{Event, RunState, SinkState, SourceState};
use crate::clock;

/// How often figures are taken.
const INTERVAL: Duration = Duration::from_millis(500);
/// Samples that rates are taken over: one second.
const RATE_SAMPLES: usize = 2;
/// Samples that the error rate is taken over: ten seconds.
const ERROR_SAMPLES: usize = 20;
/// Points of the history, one a second: fifteen minutes.
const HISTORY_MAX: usize = 900;

/// All figures at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    pub time_ms: i64,
    pub epoch: u64,
    pub state: &'static str,
    pub uptime_s: f64,
    pub rows_per_s: f64,
    pub rows_total: u64,
    pub errors_per_s: f64,
    /// Rejected rows among all rows of the last ten seconds.
    pub error_rate: f64,
    pub dead_letters_total: u64,
    pub latency: Option<Latency>,
    pub watermark: Option<String>,
    pub watermark_lag_s: Option<f64>,
    pub epoch_ms: f64,
    pub journal_bytes: u64,
    pub state_bytes: u64,
    pub resident_bytes: u64,
    pub sources: IndexMap<String, SourceStats>,
    pub operators: IndexMap<String, OperatorStats>,
    pub views: IndexMap<String, ViewStats>,
    pub sinks: IndexMap<String, SinkStats>,
    pub alerts: IndexMap<String, AlertStats>,
}

/// Time from reading a row to its results being durable in a sink, over the last ten seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct SourceStats {
    pub state: &'static str,
    pub error: Option<String>,
    pub rows_total: u64,
    pub rows_per_s: f64,
    pub rejected_total: u64,
    pub watermark: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct OperatorStats {
    pub rows_in: u64,
    pub rows_out: u64,
    pub rows_per_s: f64,
    pub busy_ratio: f64,
    pub state_rows: u64,
    pub state_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ViewStats {
    pub rows: usize,
    pub changes_per_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct SinkStats {
    pub state: &'static str,
    pub error: Option<String>,
    pub rows_total: u64,
    pub pending_epochs: usize,
    pub epoch: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct AlertStats {
    pub active: usize,
}

/// One second of the past.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub time_ms: i64,
    pub rows_per_s: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub error_rate: f64,
    pub watermark_lag_s: Option<f64>,
}

/// What rates are computed from, and what they were.
#[derive(Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    points: VecDeque<Point>,
    latest: Option<Arc<Stats>>,
}

/// The counters at one moment.
struct Sample {
    nanos: u64,
    rows: u64,
    rejected: u64,
    sources: Vec<u64>,
    operators: Vec<NodeStats>,
}

impl Shared {
    /// The latest figures.
    pub fn stats(&self) -> Arc<Stats> {
        let latest = self.live().history.latest.clone();
        latest.unwrap_or_else(|| self.take_stats())
    }

    /// The last fifteen minutes, a point a second.
    pub fn history(&self) -> Vec<Point> {
        self.live().history.points.iter().cloned().collect()
    }

    fn take_stats(&self) -> Arc<Stats> {
        let sizes: Vec<_> = (0..self.views().len()).map(|view| self.content_size(view)).collect();
        let counts = self.letters.counts();
        let mut live = self.live();
        let sample = Sample {
            nanos: clock::stopwatch_nanos(),
            rows: live.rows,
            rejected: live.rejected,
            sources: live.sources.values().map(|source| source.rows).collect(),
            operators: live.operators.clone(),
        };
        live.history.samples.push_back(sample);
        if live.history.samples.len() > ERROR_SAMPLES + 1 {
            live.history.samples.pop_front();
        }
        let mut stats = self.figures(&live, &sizes);
        stats.dead_letters_total = counts.values().map(|count| count.total).sum();
        let stats = Arc::new(stats);
        live.history.latest = Some(stats.clone());
        let last = live.history.points.back().map_or(0, |point| point.time_ms);
        if stats.time_ms - last >= 1_000 {
            live.history.points.push_back(Point {
                time_ms: stats.time_ms,
                rows_per_s: stats.rows_per_s,
                p50_ms: stats.latency.map(|latency| latency.p50_ms),
                p95_ms: stats.latency.map(|latency| latency.p95_ms),
                p99_ms: stats.latency.map(|latency| latency.p99_ms),
                error_rate: stats.error_rate,
                watermark_lag_s: stats.watermark_lag_s,
            });
            if live.history.points.len() > HISTORY_MAX {
                live.history.points.pop_front();
            }
        }
        drop(live);
        self.export(&stats, &sizes);
        stats
    }

    fn figures(&self, live: &Live, sizes: &[Option<(usize, usize)>]) -> Stats {
        let samples = &live.history.samples;
        let now = samples.back();
        let before = samples.get(samples.len().saturating_sub(RATE_SAMPLES + 1)).or(now);
        let long_ago = samples.front();
        let seconds = |from: Option<&Sample>| {
            let nanos = now.zip(from).map_or(0, |(now, from)| now.nanos - from.nanos);
            if nanos == 0 { f64::INFINITY } else { nanos as f64 / 1e9 }
        };
        let span = seconds(before);
        let rate = |of: &dyn Fn(&Sample) -> u64| {
            now.zip(before).map_or(0.0, |(now, then)| (of(now) - of(then)) as f64 / span)
        };
        let rejected = now.zip(long_ago).map_or(0, |(now, then)| now.rejected - then.rejected);
        let taken = now.zip(long_ago).map_or(0, |(now, then)| now.rows - then.rows);
        let seen = rejected + taken;
        let watermarks = live.sources.values().filter_map(|source| source.watermark_us);
        let watermark = watermarks.clone().min();
        let operator = |i: usize| {
            let of = |sample: &Sample| sample.operators.get(i).copied().unwrap_or_default();
            let busy = now.zip(before).map_or(0, |(n, t)| of(n).busy_nanos - of(t).busy_nanos);
            let all = live.operators[i];
            OperatorStats {
                rows_in: all.rows_in,
                rows_out: all.rows_out,
                rows_per_s: rate(&|sample| of(sample).rows_in.max(of(sample).rows_out)),
                busy_ratio: (busy as f64 / 1e9 / span).min(1.0),
                state_rows: all.state_rows,
                state_bytes: all.state_bytes,
            }
        };
        let views = self.views().iter().enumerate().filter(|(i, _)| self.is_kept(*i));
        let graph = self.graph();
        let views = views.map(|(i, view)| {
            let node = graph.nodes.iter().position(|node| {
                node.name.as_deref() == Some(&view.name)
                    && node.kind == syncline_engine::NodeKind::View
            });
            let changes = node.map_or(0.0, |node| {
                rate(&|sample| sample.operators.get(node).map_or(0, |n| n.rows_out))
            });
            let rows = sizes[i].map_or(0, |(rows, _)| rows);
            (view.name.clone(), ViewStats { rows, changes_per_s: changes })
        });
        Stats {
            time_ms: clock::wall_us() / 1_000,
            epoch: self.epoch(),
            state: match live.state {
                RunState::Starting | RunState::Running => "running",
                RunState::Finished => "finished",
                RunState::Failed => "failed",
            },
            uptime_s: self.uptime_nanos() as f64 / 1e9,
            rows_per_s: rate(&|sample| sample.rows),
            rows_total: live.rows,
            errors_per_s: rate(&|sample| sample.rejected),
            error_rate: if seen == 0 { 0.0 } else { rejected as f64 / seen as f64 },
            dead_letters_total: 0,
            latency: percentiles(live),
            watermark: watermark.and_then(instant),
            watermark_lag_s: watermark.map(|watermark| self.lag_seconds(watermark, live)),
            epoch_ms: self.epoch_nanos() as f64 / 1e6,
            journal_bytes: self.journal_bytes(),
            state_bytes: sizes.iter().flatten().map(|(_, bytes)| *bytes as u64).sum(),
            resident_bytes: resident_bytes(),
            sources: live
                .sources
                .iter()
                .enumerate()
                .map(|(i, (name, source))| {
                    let stats = SourceStats {
                        state: source_word(source.state),
                        error: source.error.clone(),
                        rows_total: source.rows,
                        rows_per_s: rate(&|sample| sample.sources.get(i).copied().unwrap_or(0)),
                        rejected_total: source.rejected,
                        watermark: source.watermark_us.and_then(instant),
                    };
                    (name.clone(), stats)
                })
                .collect(),
            operators: (0..live.operators.len()).map(|i| (format!("n{i}"), operator(i))).collect(),
            views: views.collect(),
            sinks: live
                .sinks
                .iter()
                .map(|(name, sink)| {
                    let stats = SinkStats {
                        state: sink_word(sink.state),
                        error: sink.error.clone(),
                        rows_total: sink.rows,
                        pending_epochs: sink.pending,
                        epoch: sink.epoch,
                    };
                    (name.clone(), stats)
                })
                .collect(),
            alerts: self
                .alerts
                .active()
                .into_iter()
                .map(|(name, active)| (name, AlertStats { active }))
                .collect(),
        }
    }

    /// How far a watermark is behind: the present, or in a replay the newest event of any source.
    fn lag_seconds(&self, watermark_us: i64, live: &Live) -> f64 {
        let now = if self.is_replay() {
            let newest = live.sources.values().filter_map(|source| source.watermark_us);
            newest.max().unwrap_or(watermark_us)
        } else {
            clock::wall_us()
        };
        (now - watermark_us).max(0) as f64 / 1e6
    }

    /// Passes gauges that are figures of the moment on to the metrics.
    fn export(&self, stats: &Stats, sizes: &[Option<(usize, usize)>]) {
        for (view, size) in self.views().iter().zip(sizes) {
            if let Some((_, bytes)) = size {
                let bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
                self.metrics.state_bytes.with_label_values(&[&view.name]).set(bytes);
            }
        }
        let now = clock::stopwatch_nanos();
        let live = self.live();
        for (name, source) in &live.sources {
            let quiet = if source.state == SourceState::Finished {
                0.0
            } else {
                now.saturating_sub(source.last_nanos) as f64 / 1e9
            };
            self.metrics.source_lag.with_label_values(&[name]).set(quiet);
            if let Some(watermark) = source.watermark_us {
                let lag = self.lag_seconds(watermark, &live);
                self.metrics.watermark_lag.with_label_values(&[name]).set(lag);
            }
        }
        for (name, sink) in &stats.sinks {
            let pending = i64::try_from(sink.pending_epochs).unwrap_or(i64::MAX);
            self.metrics.sink_pending_epochs.with_label_values(&[name]).set(pending);
        }
    }
}

/// Takes figures twice a second, until the pipeline stops.
pub(super) fn spawn(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    shared.settle();
                    shared.take_stats();
                    let _ = shared.events.send(Event::Stats);
                }
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        shared.settle();
        shared.take_stats();
        let _ = shared.events.send(Event::Stats);
    })
}

fn percentiles(live: &Live) -> Option<Latency> {
    let now = clock::stopwatch_nanos();
    let recent = live.latencies.iter().rev();
    let recent = recent.take_while(|(at, _)| now.saturating_sub(*at) < LATENCY_WINDOW_NANOS);
    let mut nanos: Vec<u64> = recent.map(|(_, latency)| *latency).collect();
    if nanos.is_empty() {
        return None;
    }
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share).round() as usize] as f64 / 1e6;
    Some(Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) })
}

fn instant(micros: i64) -> Option<String> {
    json::timestamp(micros, arrow::datatypes::TimeUnit::Microsecond).map(json::rfc3339)
}

fn source_word(state: SourceState) -> &'static str {
    match state {
        SourceState::Running => "running",
        SourceState::Retrying => "retrying",
        SourceState::Finished => "finished",
        SourceState::Failed => "failed",
    }
}

fn sink_word(state: SinkState) -> &'static str {
    match state {
        SinkState::Running => "running",
        SinkState::Retrying => "retrying",
        SinkState::Finished => "finished",
        SinkState::Failed => "failed",
    }
}

/// Memory of this process that is in RAM; 0 where the system does not say.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
