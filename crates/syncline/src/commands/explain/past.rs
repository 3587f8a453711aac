//! The journal read once more, and what came of it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::TimeUnit;
use syncline_change::row::RowCodec;
use syncline_change::{Error, Result, json};
use syncline_engine::{Circuit, SourceRows, StepOutput};
use syncline_pipeline::past;
use syncline_pipeline::prepare::Prepared;

use super::super::Failure;

/// An epoch and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) epoch: u64,
    pub(super) time_us: i64,
}

impl Moment {
    /// The time, as RFC 3339 has it.
    pub(super) fn time(self) -> String {
        json::timestamp(self.time_us, TimeUnit::Microsecond)
            .map_or_else(|| self.time_us.to_string(), json::rfc3339)
    }
}

/// A pipeline and what it has journalled.
pub(super) struct Past<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) data_dir: &'a Path,
}

impl Past<'_> {
    /// Runs the journal through `circuit`, up to epoch `at` or its end, and shows `see` what comes of
    /// every epoch. Returns the last.
    pub(super) fn replay(
        &self,
        circuit: &mut Circuit,
        at: Option<u64>,
        mut see: impl FnMut(Moment, &StepOutput) -> Result<()>,
    ) -> Result<Moment, Failure> {
        let inputs = past::Past::open(self.prepared, self.data_dir)?.inputs(at)?;
        let mut last = Moment::default();
        for input in inputs {
            let input = input?;
            last = Moment { epoch: input.epoch, time_us: input.time_us };
            let tables = past::table_inputs(self.prepared, input)?;
            let output = circuit.step(last.epoch, last.time_us, tables)?;
            see(last, &output)?;
        }
        match at {
            Some(at) if last.epoch < at => {
                Err(Error::config(format!("there is no epoch {at} yet"))
                    .detail(format!("the last epoch in the journal is {}", last.epoch))
                    .into())
            }
            _ if last.epoch == 0 => Err(nothing_ran().into()),
            _ => Ok(last),
        }
    }

    /// For each row of the sources the epoch in which it came.
    pub(super) fn epochs_of(
        &self,
        circuit: &mut Circuit,
        at: u64,
        sources: &[SourceRows],
    ) -> Result<Vec<Vec<u64>>, Failure> {
        let mut came = sources.iter().map(Came::new).collect::<Result<Vec<_>>>()?;
        let tables = &self.prepared.tables;
        self.replay(circuit, Some(at), |moment, output| {
            for (table, changes) in tables.iter().zip(&output.tables) {
                let of = sources.iter().position(|source| source.name == table.name);
                let Some(came) = of.and_then(|of| came.get_mut(of)) else { continue };
                for change in changes {
                    came.see(moment.epoch, change)?;
                }
            }
            Ok(())
        })?;
        let epochs = came.iter_mut().zip(sources).map(|(came, source)| came.of(&source.rows));
        Ok(epochs.collect::<Result<_>>()?)
    }
}

pub(super) fn nothing_ran() -> Error {
    Error::unavailable("nothing has run here yet")
        .hint("`syncline run` first: what is explained is in its journal")
}

/// When the copies of rows came that are still there.
struct Came {
    codec: RowCodec,
    epochs: HashMap<Box<[u8]>, VecDeque<u64>>,
}

impl Came {
    fn new(source: &SourceRows) -> Result<Self> {
        let codec = RowCodec::new(source.rows.schema())?;
        let encoded = codec.encode_batch(&source.rows)?;
        let epochs = encoded.iter().map(|row| (row.data().into(), VecDeque::new())).collect();
        Ok(Self { codec, epochs })
    }

    fn see(&mut self, epoch: u64, change: &syncline_change::Batch) -> Result<()> {
        let encoded = self.codec.encode_batch(change.rows())?;
        for (i, row) in encoded.iter().enumerate() {
            let Some(epochs) = self.epochs.get_mut(row.data()) else { continue };
            for _ in 0..change.weight(i).unsigned_abs() {
                // Copies are alike: the newest goes first.
                match change.weight(i) {
                    ..0 => drop(epochs.pop_back()),
                    _ => epochs.push_back(epoch),
                }
            }
        }
        Ok(())
    }

    fn of(&mut self, rows: &RecordBatch) -> Result<Vec<u64>> {
        let encoded = self.codec.encode_batch(rows)?;
        let mut next = |row: &[u8]| self.epochs.get_mut(row).and_then(VecDeque::pop_front);
        let missing = || Error::bug("a row is in a table and never came");
        encoded.iter().map(|row| next(row.data()).ok_or_else(missing)).collect()
    }
}
