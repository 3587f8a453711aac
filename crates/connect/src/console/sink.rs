//! Prints a view's changes, one envelope a line.

use std::io::{ErrorKind, Write};

use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape, Sink};
use syncline_change::source::Rejected;
use syncline_change::{Error, Result};

use crate::blocking::{BlockingSink, OffThread};
use crate::encode::json;
use crate::encode::order::ChangeOrder;

/// Text that is collected before it is printed.
const BUFFER_BYTES: usize = 64 << 10;

/// A sink that prints to standard output.
pub(crate) fn new() -> Box<dyn Sink> {
    Box::new(OffThread::new(Console::new(std::io::stdout())))
}

/// Output cannot be taken back: what was printed before a crash is printed again after it.
struct Console<W> {
    output: W,
    order: Option<ChangeOrder>,
    /// Whoever read the output has gone (`| head`): nothing is printed any more.
    closed: bool,
    last_epoch: Option<u64>,
}

impl<W: Write> Console<W> {
    fn new(output: W) -> Self {
        Self { output, order: None, closed: false, last_epoch: None }
    }

    fn print(&mut self, epoch: &EpochChanges) -> Result<()> {
        let Some(order) = &self.order else {
            return Err(Error::bug("a console sink was written to before it was opened"));
        };
        let mut text = Vec::new();
        let (output, closed) = (&mut self.output, &mut self.closed);
        let mut flush = |text: &mut Vec<u8>| {
            output.write_all(text).and_then(|()| output.flush()).map_err(|error| {
                *closed = error.kind() == ErrorKind::BrokenPipe;
                failed(error)
            })?;
            text.clear();
            Ok(())
        };
        json::envelopes(order, epoch, &mut text, &mut |text| {
            if text.len() < BUFFER_BYTES { Ok(()) } else { flush(text) }
        })?;
        if text.is_empty() { Ok(()) } else { flush(&mut text) }
    }
}

impl<W: Write + Send + 'static> BlockingSink for Console<W> {
    const DELIVERY: Delivery = Delivery::Changes;

    fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        self.order = Some(ChangeOrder::new(shape)?);
        self.last_epoch = progress.map(|progress| progress.epoch);
        Ok(())
    }

    fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        for epoch in epochs {
            if self.last_epoch.is_none_or(|last| epoch.epoch > last) {
                if !self.closed {
                    self.print(epoch)?;
                }
                self.last_epoch = Some(epoch.epoch);
            }
        }
        Ok(done(self.last_epoch))
    }

    /// Changes that nobody reads are no dead letters. Any other failure is tried again.
    fn give_up(
        &mut self,
        epochs: &[EpochChanges],
        _error: &Error,
    ) -> Option<(Progress, Vec<Rejected>)> {
        self.closed.then(|| {
            self.last_epoch = epochs.last().map(|epoch| epoch.epoch).or(self.last_epoch);
            (done(self.last_epoch), Vec::new())
        })
    }
}

fn done(epoch: Option<u64>) -> Progress {
    Progress { epoch: epoch.unwrap_or_default(), token: serde_json::Value::Null }
}

fn failed(error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::BrokenPipe {
        // Not transient: the reader does not come back. It is no failure of the pipeline either.
        return Error::config("standard output was closed by its reader")
            .detail("the other sinks go on; this one prints nothing any more");
    }
    Error::io("write to", "standard output", error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use arrow::array::{Int64Array, RecordBatch};
    use syncline_change::{Batch, ErrorKind as Kind};

    use super::*;

    fn epoch(epoch: u64, ids: &[i64]) -> EpochChanges {
        let column = Arc::new(Int64Array::from(ids.to_vec()));
        let rows = RecordBatch::try_from_iter([("id", column as _)]).unwrap();
        EpochChanges { epoch, changes: vec![Batch::inserts(rows)] }
    }

    fn opened<W: Write + Send + 'static>(output: W) -> Console<W> {
        let mut sink = Console::new(output);
        let schema = epoch(0, &[]).changes[0].schema();
        sink.open(&Shape { schema, key: None }, None).unwrap();
        sink
    }

    #[test]
    fn envelopes_are_printed_once() {
        #[derive(Clone, Default)]
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let output = Shared::default();
        let mut sink = opened(output.clone());
        let epochs = [epoch(1, &[7]), epoch(2, &[]), epoch(3, &[8])];
        assert_eq!(sink.write(&epochs).unwrap().epoch, 3);
        assert_eq!(sink.write(&epochs[1..]).unwrap().epoch, 3);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let expect = "{\"op\":\"c\",\"before\":null,\"after\":{\"id\":7},\"epoch\":1}\n\
                      {\"op\":\"c\",\"before\":null,\"after\":{\"id\":8},\"epoch\":3}\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_reader_that_leaves_ends_the_sink_quietly() {
        struct ClosedPipe;
        impl Write for ClosedPipe {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut sink = opened(ClosedPipe);
        let error = sink.write(&[epoch(1, &[7])]).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(!error.kind().is_transient());
        let (progress, rejected) = sink.give_up(&[epoch(1, &[7])], &error).unwrap();
        assert_eq!((progress.epoch, rejected), (1, vec![]));
        assert_eq!(sink.write(&[epoch(2, &[8])]).unwrap().epoch, 2);
    }
}
