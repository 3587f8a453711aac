//! Small JSON files that say which version wrote them, and whether they are as they were written:
//! `{"format": .., "<name>": .., "checksum": ..}`, the checksum being BLAKE3 of what is named, as JSON
//! without spaces, in hex.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use syncline_change::{Error, Result};

use crate::disk::Disk;
use crate::{fs, progress};

/// What such a file holds.
pub(crate) struct Sealed {
    pub(crate) name: &'static str,
    /// The version that this build writes; it reads those up to it.
    pub(crate) format: u32,
    /// What to do about a damaged file.
    pub(crate) hint: &'static str,
}

impl Sealed {
    /// Writes `content` in place of what is at `path`; durable on return.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        path: &Path,
        content: &impl Serialize,
    ) -> Result<()> {
        let checksum = progress::checksum(content)?;
        let content = serde_json::to_value(content).map_err(progress::no_json)?;
        let file = json!({ "format": self.format, self.name: content, "checksum": checksum });
        fs::write_atomic(disk, path, file.to_string().as_bytes())
    }

    /// What is at `path`; `None`: nothing.
    ///
    /// # Errors
    /// `Corrupt` if the file is not what was written, `Unsupported` if a newer version wrote it.
    pub(crate) fn read<T: DeserializeOwned + Serialize>(&self, path: &Path) -> Result<Option<T>> {
        let Some(text) = fs::read_if_there(path)? else { return Ok(None) };
        let damaged = |what: String| self.damaged(path, what);
        let unreadable = |error: serde_json::Error| damaged(error.to_string());
        let mut file: Map<String, Value> = serde_json::from_slice(&text).map_err(unreadable)?;
        let format = file.remove("format").and_then(|format| format.as_u64());
        let format = format.ok_or_else(|| damaged("it says no format".to_owned()))?;
        if format > u64::from(self.format) {
            return Err(Error::unsupported(format!("{} has format {format}", path.display()))
                .detail(format!("this version of Syncline knows up to {}", self.format))
                .hint("update Syncline"));
        }
        let content = file.remove(self.name).unwrap_or_default();
        let content: T = serde_json::from_value(content).map_err(unreadable)?;
        let checksum = progress::checksum(&content)?;
        if file.remove("checksum") != Some(checksum.into()) {
            return Err(damaged("its checksum does not match its content".to_owned()));
        }
        match file.keys().next() {
            Some(unknown) => Err(damaged(format!("it has a field `{unknown}`"))),
            None => Ok(Some(content)),
        }
    }

    pub(crate) fn damaged(&self, path: &Path, what: String) -> Error {
        Error::corrupt(format!("{} is damaged", path.display())).detail(what).hint(self.hint)
    }
}
