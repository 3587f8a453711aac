//! How far each sink has got: `sinks/<sink>.json`, replaced as a whole.

use serde::{Deserialize, Serialize};
use syncline_change::sink::Progress;
use syncline_change::{Error, Result};

use crate::{DataDir, fs};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    progress: Progress,
    /// BLAKE3 of `progress` as JSON without spaces, in hex.
    checksum: String,
}

/// What was last written for `sink`; `None`: nothing yet.
///
/// # Errors
/// `Corrupt` if the file is not what was written.
pub fn read(dir: &DataDir, sink: &str) -> Result<Option<Progress>> {
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
    let stored: Stored =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if checksum(&stored.progress)? != stored.checksum {
        return Err(damaged("its checksum does not match its content".to_owned()));
    }
    Ok(Some(stored.progress))
}

/// Replaces what is stored for `sink`; durable on return. Only for what is durable in the target.
pub fn write(dir: &DataDir, sink: &str, progress: &Progress) -> Result<()> {
    dir.require_lock()?;
    let stored = Stored { progress: progress.clone(), checksum: checksum(progress)? };
    let text = serde_json::to_vec(&stored).map_err(no_json)?;
    fs::write_atomic(&**dir.disk(), &path(dir, sink)?, &text)
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
        for (epoch, token) in [(1, json!({"bytes": 17, "x": 0.1})), (2, json!(null))] {
            let progress = Progress { epoch, token };
            write(&data, "out", &progress).unwrap();
            assert_eq!(read(&data, "out").unwrap(), Some(progress));
        }
        assert_eq!(read(&data, "other").unwrap(), None);
        assert_eq!(read(&data, "../out").unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn any_altered_byte_is_noticed() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        write(&data, "out", &Progress { epoch: 12, token: json!({"bytes": 34}) }).unwrap();
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
