//! Requests to try dead letters again: a file each in `dead-letters/retry/`, which any process may
//! put there and the running pipeline takes.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use syncline_change::{Error, Result};

use super::id::Id;
use crate::disk::Disk;
use crate::{DataDir, fs};

/// Somebody wants a dead letter to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Which letter.
    pub id: String,
    /// What to read in place of its bytes; `None`: those. Base64 in the file.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_text")]
    pub text: Option<Vec<u8>>,
}

/// Puts a request where the running pipeline, or the next one, finds it; durable on return. Replaces
/// an earlier request for the same letter. `dir` need not be open for writing.
///
/// # Errors
/// `Input` if the id cannot be one. Whether there is such a letter is seen when it is tried.
pub fn request_retry(dir: &DataDir, request: &RetryRequest) -> Result<()> {
    let path = path(&dir.retries(), request.id.parse()?);
    let text = serde_json::to_vec(request)
        .map_err(|error| Error::bug("a retry request has no JSON form").source(error))?;
    fs::write_atomic(&**dir.disk(), &path, &text)
}

/// All requests, by id. A file that is not one is set aside, so that it does not hold up the others.
pub(super) fn take(disk: &dyn Disk, folder: &Path) -> Result<Vec<RetryRequest>> {
    let mut requests = Vec::new();
    for path in fs::list(folder)? {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Some(text) = fs::read_if_there(&path)? else { continue };
        match read(&path, &text) {
            Ok((id, request)) => requests.push((id, request)),
            Err(reason) => {
                let aside = path.with_extension("unreadable");
                tracing::warn!(file = %path.display(), %reason, "a retry request was set aside");
                disk.rename(&path, &aside).map_err(|e| Error::io("rename", &path, e))?;
            }
        }
    }
    requests.sort_by_key(|(id, _)| *id);
    Ok(requests.into_iter().map(|(_, request)| request).collect())
}

/// The request with `id` is dealt with.
pub(super) fn finish(disk: &dyn Disk, folder: &Path, id: &str) -> Result<()> {
    fs::remove(disk, &path(folder, id.parse()?))
}

fn read(path: &Path, text: &[u8]) -> Result<(Id, RetryRequest), String> {
    let request: RetryRequest = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let id: Id = request.id.parse().map_err(|e: Error| e.to_string())?;
    if path.file_stem().is_none_or(|stem| stem != request.id.as_str()) {
        return Err(format!("it is for letter {}", request.id));
    }
    Ok((id, request))
}

fn path(folder: &Path, id: Id) -> PathBuf {
    folder.join(format!("{id}.json"))
}

mod base64_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        text: &Option<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(|text| STANDARD.encode(text)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}
