//! Log lines: text for people, Elastic Common Schema for machines. All go to standard error.

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value, json};
use syncline_pipeline::clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::LogFormat;

/// The version of the Elastic Common Schema that the fields follow.
const ECS_VERSION: &str = "8.11.0";

/// Starts logging. `SYNCLINE_LOG` takes the usual filter directives and wins over `verbose`.
pub(crate) fn start(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => "warn,syncline=info",
        1 => "info,syncline=debug",
        _ => "debug",
    };
    let level = level.replace(
        "syncline=",
        "syncline={0},syncline_pipeline={0},syncline_connect={0},syncline_store={0},syncline_engine=",
    );
    let own = if verbose == 0 { "info" } else { "debug" };
    let filter = EnvFilter::try_from_env("SYNCLINE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(level.replace("{0}", own)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| crate::terminal::AboveStatus);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_timer(Clock)
            .with_target(false)
            .init(),
        LogFormat::Json => builder.event_format(Ecs).init(),
    }
}

/// The time of day, for people who watch.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let text = now();
        to.write_str(text.get(11..23).unwrap_or(&text))
    }
}

fn now() -> String {
    let at = chrono::DateTime::from_timestamp_micros(clock::wall_us()).unwrap_or_default();
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// One JSON object a line, fields as the Elastic Common Schema names them.
struct Ecs;

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut line = json!({
            "@timestamp": now(),
            "log.level": level(*metadata.level()),
            "message": fields.message,
            "ecs.version": ECS_VERSION,
            "log.logger": metadata.target(),
            "service.name": "syncline",
            "service.version": env!("CARGO_PKG_VERSION"),
            "process.pid": std::process::id(),
            "process.thread.name": std::thread::current().name().unwrap_or("unnamed"),
        });
        if !fields.others.is_empty() {
            line["syncline"] = Value::Object(fields.others);
        }
        writeln!(to, "{line}")
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The message of an event, and what else it says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}
