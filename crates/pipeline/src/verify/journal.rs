//! The journal against the epoch log, epoch by epoch; and the changes of views, where they are
//! computed again.

use syncline_change::{ErrorKind, Result};
use syncline_engine::{Circuit, StepOutput, in_parallel};
use syncline_store::epochs::{self, EpochRecord, Records};
use syncline_store::journal::EpochInput;
use syncline_store::merkle::{self, MerkleLog};

use super::Run;
use super::divergence::shown_changes;
use super::report::{InputCheck, Mismatch, Report};
use crate::runtime::{Recorded, record_of};

/// What the epoch log should say of an epoch's input.
pub(super) struct Summary {
    epoch: u64,
    time_us: i64,
    digest: String,
    leaf: merkle::Hash,
    sources: Vec<(String, u64)>,
}

impl Summary {
    pub(super) fn of(input: &EpochInput) -> Self {
        let digest = input.digest.unwrap_or_else(|| blake3::Hash::from([0; blake3::OUT_LEN]));
        let sources = input.inputs.iter();
        Self {
            epoch: input.epoch,
            time_us: input.time_us,
            digest: digest.to_hex().to_string(),
            leaf: merkle::leaf_hash(digest.as_bytes()),
            sources: sources.map(|part| (part.source.clone(), part.row_count() as u64)).collect(),
        }
    }
}

pub(super) struct Comparison<'a> {
    records: Option<Records>,
    recorded: Recorded,
    circuit: Vec<(String, arrow::datatypes::SchemaRef)>,
    run: &'a Run<'a>,
    input: MerkleLog,
    chain: String,
    epoch: u64,
    rows: u64,
    /// Epochs of older versions, of whose input nothing was recorded.
    unhashed: u64,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(run: &'a Run<'a>, circuit: &Circuit) -> Result<Self> {
        let views = circuit.views().iter();
        Ok(Self {
            records: run.past.records()?,
            recorded: Recorded::read(run.past.dir())?,
            circuit: views.map(|view| (view.name.clone(), view.schema.clone())).collect(),
            run,
            input: run.past.input_before(),
            chain: String::new(),
            epoch: run.past.before(),
            rows: 0,
            unhashed: 0,
        })
    }

    /// The last epoch that was compared.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn input(&self) -> &MerkleLog {
        &self.input
    }

    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    /// Compares an epoch of the journal with its record, and the changes of views, if they were
    /// computed.
    pub(super) fn compare(
        &mut self,
        summary: &Summary,
        output: Option<&StepOutput>,
    ) -> Result<Option<Mismatch>> {
        let epoch = summary.epoch;
        if epoch <= self.run.past.before() {
            // It stands for others, and nobody recorded it.
            return Ok(None);
        }
        let Some(records) = &mut self.records else { return Ok(None) };
        let record = match records.next() {
            None => {
                let message = "the epoch log has no record of it";
                return Ok(Some(Mismatch::new("the epoch log", Some(epoch), message)));
            }
            Some(Err(error)) if error.kind() == ErrorKind::Corrupt => {
                return Ok(Some(Mismatch::of_error("the epoch log", Some(epoch), &error)));
            }
            Some(record) => record?.record,
        };
        self.chain = records.head().to_hex().to_string();
        self.input.push(summary.leaf);
        self.epoch = epoch;
        self.rows += summary.sources.iter().map(|(_, rows)| rows).sum::<u64>();
        if record.input.is_none() {
            self.unhashed += 1;
        }
        if let Some(mismatch) = input_mismatch(summary, &record) {
            return Ok(Some(mismatch));
        }
        match output {
            Some(output) => self.changes_mismatch(&record, output),
            None => Ok(None),
        }
    }

    /// The first view whose changes are not those that were recorded.
    fn changes_mismatch(
        &self,
        record: &EpochRecord,
        output: &StepOutput,
    ) -> Result<Option<Mismatch>> {
        // Records of older versions have digests of another kind.
        if record.input.is_none() {
            return Ok(None);
        }
        let views = self.circuit.iter().zip(&output.views);
        let is_recorded =
            |name: &str| self.recorded.has(name, record.epoch) && !self.run.past.is_left_out(name);
        let mut views: Vec<_> = views.filter(|((name, _), _)| is_recorded(name)).collect();
        let computed = in_parallel(self.run.pool.as_ref(), &mut views, |((_, schema), changes)| {
            record_of(schema, changes)
        });
        for (((name, _), changes), now) in views.into_iter().zip(computed?) {
            let now = Some(now).filter(|now| now.rows > 0);
            let before = record.views.get(name);
            if before == now.as_ref() {
                continue;
            }
            let rows = |record: Option<&epochs::ViewRecord>| record.map_or(0, |r| r.rows);
            let mut mismatch = Mismatch::new(
                &format!("view {name}"),
                Some(record.epoch),
                format!(
                    "the run recorded {} changed rows, computed again there are {}, and they are not the same",
                    rows(before),
                    rows(now.as_ref())
                ),
            );
            mismatch.rows = shown_changes(changes)?;
            return Ok(Some(mismatch));
        }
        Ok(None)
    }

    /// The hash of the record of `epoch`, by way of those after the last that was compared.
    pub(super) fn chain_at(&mut self, epoch: u64) -> Result<std::result::Result<String, Mismatch>> {
        let mut at = self.epoch;
        while let Some(records) = self.records.as_mut().filter(|_| at < epoch) {
            match records.next() {
                Some(Ok(_)) => at += 1,
                Some(Err(error)) if error.kind() == ErrorKind::Corrupt => {
                    return Ok(Err(Mismatch::of_error("the epoch log", Some(at + 1), &error)));
                }
                Some(Err(error)) => return Err(error),
                None => {
                    let message = "the epoch log has no record of it";
                    return Ok(Err(Mismatch::new("the epoch log", Some(at + 1), message)));
                }
            }
        }
        let head = self.records.as_ref().map(|records| records.head().to_hex().to_string());
        Ok(Ok(head.unwrap_or_default()))
    }

    pub(super) fn finish(self, report: &mut Report) {
        report.input = Some(InputCheck {
            epochs: self.epoch - self.run.past.before(),
            rows: self.rows,
            root: blake3::Hash::from(self.input.root()).to_hex().to_string(),
            chain: self.chain,
        });
        if self.unhashed > 0 {
            report.unchecked.push(format!(
                "the input of {} epochs: an older version ran them and recorded no hashes",
                self.unhashed
            ));
        }
        let last = self.run.last();
        if self.epoch < last {
            let from = self.epoch + 1;
            report.unchecked.push(format!("the journal and epoch log from epoch {from} to {last}"));
        }
    }
}

/// How the journal's epoch differs from what was recorded of it.
fn input_mismatch(summary: &Summary, record: &EpochRecord) -> Option<Mismatch> {
    let differs =
        |message: String| Some(Mismatch::new("the journal", Some(summary.epoch), message));
    if record.epoch != summary.epoch {
        return differs(format!("the epoch log has epoch {} there", record.epoch));
    }
    if record.time_us != summary.time_us {
        return differs("its time is not the one that was recorded".to_owned());
    }
    let recorded = record.sources.iter().map(|(name, source)| (name.clone(), source.rows));
    let mut sources = summary.sources.clone();
    sources.sort();
    if let Some((name, rows)) = sources
        .iter()
        .find(|(name, rows)| record.sources.get(name).is_none_or(|source| source.rows != *rows))
    {
        let before = record.sources.get(name).map_or(0, |source| source.rows);
        return differs(format!("source {name} has {rows} rows in it, and {before} were recorded"));
    }
    if !recorded.eq(sources) {
        return differs("not all of the sources that were recorded are in it".to_owned());
    }
    if record.input.as_ref().is_some_and(|digest| *digest != summary.digest) {
        return differs("it has other content than what was written when it ran".to_owned());
    }
    None
}
