//! `run`: a pipeline, until its input ends or somebody stops it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use syncline_change::{Error, ErrorKind};
use syncline_connect::config::SourceConfig;
use syncline_connect::file;
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::runtime::state::Shared;
use syncline_pipeline::runtime::{RunOptions, Running};
use tokio::net::TcpListener;

use super::interrupts::Interrupts;
use super::{Failure, prepare};
use crate::cli;
use crate::http::{self, Description};
use crate::terminal::{self, Status};

/// Where the page is served if nobody says otherwise.
const LISTEN_DEFAULT: &str = "127.0.0.1:7373";
/// Threads for sources, sinks and HTTP; the circuit has its own.
const IO_THREADS: usize = 2;
const STATUS_INTERVAL_TERMINAL: Duration = Duration::from_millis(250);
const STATUS_INTERVAL_PLAIN: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: cli::Run) -> Result<ExitCode, Failure> {
    let prepared = prepare(arguments.file.file.as_deref())?;
    let listen = listen_address(&arguments, &prepared)?;
    let options = RunOptions {
        once: arguments.once,
        data_dir: arguments.data_dir,
        workers: arguments.workers.map(usize::from),
    };
    carry_out(prepared, &options, listen)
}

/// Where to serve, if at all. A run that only processes what is there serves nothing by default.
fn listen_address(
    arguments: &cli::Run,
    prepared: &Prepared,
) -> Result<Option<SocketAddr>, Failure> {
    if arguments.no_listen {
        return Ok(None);
    }
    if let Some(address) = arguments.listen {
        return Ok(Some(address));
    }
    if arguments.once {
        return Ok(None);
    }
    let address = prepared.pipeline.spec.run.listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    let parsed = address.parse().map_err(|_| {
        Error::config(format!("`{address}` is not an address to listen on"))
            .hint("say an IP address and a port, such as 127.0.0.1:7373")
    })?;
    Ok(Some(parsed))
}

/// Runs a prepared pipeline to its end.
pub(super) fn carry_out(
    prepared: Prepared,
    options: &RunOptions,
    listen: Option<SocketAddr>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Error::bug("cannot start the runtime").source(error))?;
    let _entered = runtime.enter();
    // The port first: who cannot have it should not wait for a replay to hear so.
    let listener = listen.map(|address| runtime.block_on(bind(address))).transpose()?;
    let served = match listener {
        Some(listener) => Some((listener, Description::new(&prepared)?)),
        None => None,
    };
    let total = input_bytes(&prepared);
    let running = Running::start(prepared, options)?;
    let result = runtime.block_on(watch(running, served, total));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// How much there is to read, if all of it is bounded and its size is known.
fn input_bytes(prepared: &Prepared) -> Option<u64> {
    let sources = prepared.pipeline.spec.sources.values();
    let bytes = sources.map(|source| match source {
        SourceConfig::File(config) => file::input_bytes(config, &prepared.pipeline.base_dir),
        SourceConfig::Http(_) | SourceConfig::Nexmark(_) => None,
    });
    bytes.sum()
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let made = Error::new(ErrorKind::Conflict, format!("cannot listen on {address}"))
            .detail(error.to_string());
        match error.kind() {
            std::io::ErrorKind::AddrInUse => made.hint(
                "something else listens there: say `--listen 127.0.0.1:0` for a free port, \
                 or `--no-listen`",
            ),
            _ => made.hint("say another address with --listen, or `--no-listen`"),
        }
    })
}

async fn watch(
    mut running: Running,
    served: Option<(TcpListener, Description)>,
    total: Option<u64>,
) -> Result<ExitCode, Failure> {
    let shared = running.shared().clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut server = None;
    if let Some((listener, description)) = served {
        let address = listener.local_addr().map_err(|e| Error::bug("no address").source(e))?;
        shared.data_dir().set_listen(address)?;
        terminal::note(format_args!("page:    http://{address}/"));
        let mut stopped = stopped.clone();
        let served = http::serve(listener, shared.clone(), description, async move {
            // A sender that is gone is the end as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        server = Some(tokio::spawn(served));
    }
    let status = Status::start(total);
    let mut ticks = tokio::time::interval(if status.is_live() {
        STATUS_INTERVAL_TERMINAL
    } else {
        STATUS_INTERVAL_PLAIN
    });
    ticks.tick().await;
    let mut interrupts = Interrupts::new()?;
    loop {
        tokio::select! {
            () = running.finished() => break,
            () = interrupts.next() => {
                status.show("stopping: the epoch under way is finished first", 0);
                break;
            }
            _ = ticks.tick() => {
                let done = shared.sources().values().map(|source| source.bytes).sum();
                status.show(&status_line(&shared), done);
            }
        }
    }
    let result = running.stop().await;
    status.finish(&summary(&shared));
    let _ = stop.send(true);
    if let Some(server) = server {
        let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

fn status_line(shared: &Arc<Shared>) -> String {
    let stats = shared.stats();
    let mut line = format!(
        "epoch {}  {} rows  {}/s",
        stats.epoch,
        short(stats.rows_total as f64),
        short(stats.rows_per_s)
    );
    if let Some(latency) = stats.latency {
        line.push_str(&format!("  p99 {:.1} ms", latency.p99_ms));
    }
    if let Some(watermark) = &stats.watermark {
        line.push_str(&format!("  event time {watermark}"));
    }
    if stats.dead_letters_total > 0 {
        line.push_str(&format!("  {} dead letters", stats.dead_letters_total));
    }
    let firing: usize = stats.alerts.values().map(|alert| alert.active).sum();
    if firing > 0 {
        line.push_str(&format!("  {firing} alerts"));
    }
    line
}

fn summary(shared: &Arc<Shared>) -> String {
    let rows: u64 = shared.sources().values().map(|source| source.rows).sum();
    let letters: u64 = shared.letters.counts().values().map(|count| count.open).sum();
    let seconds = shared.uptime_nanos() as f64 / 1e9;
    let mut text = format!("done:    {rows} rows in {} epochs, {seconds:.2} s", shared.epoch());
    if letters > 0 {
        text.push_str(&format!("; {letters} dead letters (`syncline dlq ls` shows them)"));
    }
    text
}

/// A number in three digits and a letter.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}G", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}
