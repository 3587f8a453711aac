//! From settings to running sources and sinks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use syncline_change::Result;
use syncline_change::sink::Sink;
use syncline_change::source::{Decode, Position, Source};

use crate::config::{SinkConfig, SourceConfig};
use crate::decode::json::JsonDecode;
use crate::{console, file, http, nexmark};

/// What the sources of one pipeline share.
#[derive(Clone, Debug)]
pub struct SourceEnv {
    /// Where relative paths are: the folder of the pipeline file.
    pub base_dir: PathBuf,
    /// What paced sources go by. Open all sources before the first is asked for a chunk: it waits
    /// for those that are open.
    pub replay: Arc<file::ReplayClock>,
    /// The most rows in a chunk: an epoch may hold no more.
    pub chunk_rows_max: u64,
    /// Threads that a source may decode a large file with; see [`decode_threads`].
    pub decode_threads: usize,
}

/// More threads would only wait for the one that reads.
const DECODE_THREADS_MAX: usize = 8;

/// How many threads decode a large file, unless somebody wants it otherwise: one a core, up to a
/// limit.
pub fn decode_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(DECODE_THREADS_MAX)
}

/// A source that is ready to be read, and what belongs to it.
pub struct OpenSource {
    pub source: Box<dyn Source>,
    /// For rows that were rejected and mended.
    pub decode: Arc<dyn Decode>,
    /// The way in, for a source that rows are posted to.
    pub ingest: Option<http::Ingest>,
}

/// The source `name` with the columns `schema` (see [`crate::resolve_schema`]), to go on at
/// `position`.
///
/// # Errors
/// `Config` if the settings cannot be meant; `Corrupt` if the position is of another kind of source.
pub fn open_source(
    name: &str,
    config: &SourceConfig,
    schema: SchemaRef,
    position: Option<Position>,
    env: &SourceEnv,
) -> Result<OpenSource> {
    let opened = match config {
        SourceConfig::File(config) => file::source::open(name, config, schema, position, env)
            .map(|(source, decode)| OpenSource { source, decode, ingest: None }),
        SourceConfig::Http(config) => {
            let decode = JsonDecode::new(schema.clone(), &config.common.primary_key)?;
            http::source(config, schema, position.as_ref()).map(|(source, ingest)| OpenSource {
                source: Box::new(source),
                decode: Arc::new(decode),
                ingest: Some(ingest),
            })
        }
        SourceConfig::Nexmark(config) => {
            // Nothing that is generated is rejected; a row that comes too late can come again.
            let decode = JsonDecode::new(schema, &config.common.primary_key)?;
            nexmark::source(config, position.as_ref()).map(|source| OpenSource {
                source: Box::new(source),
                decode: Arc::new(decode),
                ingest: None,
            })
        }
    };
    opened.map_err(|error| error.within(format!("source `{name}`")))
}

/// The sink `name` of the pipeline `pipeline`; relative paths are in `base_dir`. Nothing is touched
/// or sent before it is opened.
///
/// # Errors
/// `Config` if the settings cannot be meant.
pub fn open_sink(
    name: &str,
    config: &SinkConfig,
    base_dir: &Path,
    pipeline: &str,
) -> Result<Box<dyn Sink>> {
    match config {
        SinkConfig::File(config) => Ok(file::sink::new(config, base_dir)),
        SinkConfig::Console(_) => Ok(console::new()),
        SinkConfig::Http(config) => http::sink::new(name, config, pipeline)
            .map_err(|error| error.within(format!("sink `{name}`"))),
    }
}
