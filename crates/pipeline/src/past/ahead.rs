//! Reads the epochs that come next while others are computed.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use syncline_change::{Error, Result};
use syncline_store::journal::EpochInput;

/// Epochs that wait; each has as many rows as an epoch may have.
const WAITING_MAX: usize = 2;

/// Epochs that a thread of its own reads.
pub(crate) struct Ahead {
    epochs: Receiver<Result<EpochInput>>,
    /// `None`: it has come to the end.
    reader: Option<JoinHandle<()>>,
}

impl Ahead {
    /// # Errors
    /// `Bug` if no thread can be started.
    pub(crate) fn of(
        inputs: impl Iterator<Item = Result<EpochInput>> + Send + 'static,
    ) -> Result<Self> {
        let (to, epochs) = sync_channel(WAITING_MAX);
        let read = move || {
            for input in inputs {
                // Nobody wants any more.
                if to.send(input).is_err() {
                    return;
                }
            }
        };
        let reader = std::thread::Builder::new().name("journal".to_owned()).spawn(read);
        let reader = reader.map_err(|error| Error::bug("cannot start a thread").source(error))?;
        Ok(Self { epochs, reader: Some(reader) })
    }
}

impl Iterator for Ahead {
    type Item = Result<EpochInput>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(input) = self.epochs.recv() {
            return Some(input);
        }
        let ended = self.reader.take()?.join();
        ended.is_err().then(|| Err(Error::bug("reading the journal panicked")))
    }
}
