//! How far each sink has got: `sinks/<sink>.json`, replaced as a whole.

use serde::{Deserialize, Serialize};
use syncline_change::sink::Progress;
use syncline_change::{Error, Result};

use crate::{DataDir, fs};

/// How far a sink has got, and with changes of what.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkProgress {
    pub progress: Progress,
    /// In the order of epochs, the first one that of `progress.epoch`. Versions that knew of no
    /// meanings wrote none.
    pub spans: Vec<Span>,
}

/// From some epoch on a sink is given the changes of one meaning, until the next span begins. The
/// first epoch of a span brings its target from what the span before has made of it to the content
/// that is now meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first epoch.
    pub since: u64,
    /// The hash of the [meaning](crate::meanings).
    pub meaning: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    progress: Progress,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Span>,
    /// BLAKE3 in hex of `progress` as JSON without spaces, or of the list of it and `spans` if there
    /// are any.
    checksum: String,
}

impl Stored {
    fn checksum(progress: &Progress, spans: &[Span]) -> Result<String> {
        if spans.is_empty() { checksum(progress) } else { checksum(&(progress, spans)) }
    }
}

/// What was last written for `sink`; `None`: nothing yet.
///
/// # Errors
/// `Corrupt` if the file is not what was written.
pub fn read(dir: &DataDir, sink: &str) -> Result<Option<SinkProgress>> {
    let path = path(dir, sink)?;
    let Some(text) = fs::read_if_there(&path)? else { return Ok(None) };
    let damaged = |what: String| {
        Error::corrupt(format!("the progress of sink `{sink}` in {} is damaged", path.display()))
            .detail(what)
            .hint(
                "restore the file from a backup, or empty the sink's target and remove the file: \
                 the sink then starts anew",
            )
    };
    let Stored { progress, spans, checksum } =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if Stored::checksum(&progress, &spans)? != checksum {
        return Err(damaged("its checksum does not match its content".to_owned()));
    }
    Ok(Some(SinkProgress { progress, spans }))
}

/// Replaces what is stored for `sink`; durable on return. Only for what is durable in the target.
pub fn write(dir: &DataDir, sink: &str, done: &SinkProgress) -> Result<()> {
    dir.require_lock()?;
    let SinkProgress { progress, spans } = done.clone();
    let checksum = Stored::checksum(&progress, &spans)?;
    let stored = Stored { progress, spans, checksum };
    let text = serde_json::to_vec(&stored).map_err(no_json)?;
    fs::write_atomic(&**dir.disk(), &path(dir, sink)?, &text)
}

/// The sinks that something was written for, those included that are no longer in the pipeline.
pub fn list(dir: &DataDir) -> Result<Vec<String>> {
    let files = fs::list(&dir.sinks())?;
    let name = |path: &std::path::PathBuf| {
        Some(path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned())
    };
    Ok(files.iter().filter_map(name).collect())
}

fn path(dir: &DataDir, sink: &str) -> Result<std::path::PathBuf> {
    fs::check_name("sink", sink)?;
    Ok(dir.sinks().join(format!("{sink}.json")))
}

/// BLAKE3 of `content` as JSON without spaces, in hex.
pub(crate) fn checksum(content: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(content).map_err(no_json)?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

pub(crate) fn no_json(error: serde_json::Error) -> Error {
    Error::bug("what is to be stored has no JSON form").source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use syncline_change::ErrorKind;

    use super::*;

    #[test]
    fn progress_reads_back() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(read(&data, "out").unwrap(), None);
        let span = |since: u64| Span { since, meaning: format!("{since}ab") };
        for (epoch, token, spans) in
            [(1, json!({"bytes": 17, "x": 0.1}), vec![]), (2, json!(null), vec![span(1), span(3)])]
        {
            let progress = SinkProgress { progress: Progress { epoch, token }, spans };
            write(&data, "out", &progress).unwrap();
            assert_eq!(read(&data, "out").unwrap(), Some(progress));
        }
        assert_eq!(list(&data).unwrap(), ["out"]);
        assert_eq!(read(&data, "other").unwrap(), None);
        assert_eq!(read(&data, "../out").unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn any_altered_byte_is_noticed() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        let progress = Progress { epoch: 12, token: json!({"bytes": 34}) };
        let spans = vec![Span { since: 1, meaning: "ab".to_owned() }];
        write(&data, "out", &SinkProgress { progress, spans }).unwrap();
        let path = dir.path().join("sinks/out.json");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let error = read(&data, "out").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
            assert!(error.message().contains("sinks/out.json"), "{error}");
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(read(&data, "out").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
