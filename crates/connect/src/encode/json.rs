//! JSON lines: a view's rows, and its changes as Debezium envelopes.

use arrow::array::RecordBatch;
use syncline_change::Result;
use syncline_change::json::RowWriter;
use syncline_change::sink::EpochChanges;

use super::AfterLine;
use super::order::{At, Change, ChangeOrder};

/// One object a line, columns in order.
pub fn rows(rows: &RecordBatch, out: &mut Vec<u8>, after_line: AfterLine<'_>) -> Result<()> {
    let writer = RowWriter::new(rows)?;
    for row in 0..rows.num_rows() {
        writer.object(row, out);
        out.push(b'\n');
        after_line(out)?;
    }
    Ok(())
}

/// One envelope a line: `{"op":"c|u|d","before":..,"after":..,"epoch":..}`.
pub fn envelopes(
    order: &ChangeOrder,
    epoch: &EpochChanges,
    out: &mut Vec<u8>,
    after_line: AfterLine<'_>,
) -> Result<()> {
    let writers = epoch.changes.iter().map(|changes| RowWriter::new(changes.rows()));
    let writers: Vec<RowWriter> = writers.collect::<Result<_>>()?;
    let end = format!(",\"epoch\":{}}}\n", epoch.epoch);
    let write = |at: At, out: &mut Vec<u8>| writers[at.batch].object(at.row, out);
    order.visit(&epoch.changes, |change| {
        match change {
            Change::Create(after) => {
                out.extend_from_slice(b"{\"op\":\"c\",\"before\":null,\"after\":");
                write(after, out);
            }
            Change::Update { before, after } => {
                out.extend_from_slice(b"{\"op\":\"u\",\"before\":");
                write(before, out);
                out.extend_from_slice(b",\"after\":");
                write(after, out);
            }
            Change::Delete(before) => {
                out.extend_from_slice(b"{\"op\":\"d\",\"before\":");
                write(before, out);
                out.extend_from_slice(b",\"after\":null");
            }
        }
        out.extend_from_slice(end.as_bytes());
        after_line(out)
    })
}

#[cfg(test)]
mod tests;
