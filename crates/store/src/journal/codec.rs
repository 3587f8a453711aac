//! An epoch's entry for one source as the payload of a frame, and back.
//!
//! ```text
//! payload = length of the head u32 | head (JSON) | zeros to a multiple of 64 | Arrow IPC message
//! ```
//!
//! The message is a record batch, encapsulated as in an Arrow IPC stream (Arrow columnar format,
//! "Encapsulated message format"), with the weights as a last column if they are not all +1. The
//! schema stands once in a segment, in its head. All parts are aligned to 64 bytes, so that reading
//! rows copies nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc;
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::reader::RecordBatchDecoder;
use arrow::ipc::writer::StreamEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use syncline_change::source::{FileRange, Position};
use syncline_change::{Batch, Error, Result};

use super::{CloseReason, Standing};

const ALIGNMENT: usize = 64;

/// Starts an encapsulated message; its length follows.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// What stands before the rows of a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) epoch: u64,
    pub(super) time_us: i64,
    pub(super) reason: CloseReason,
    /// How many frames the epoch has, and which of them this is (from 0).
    pub(super) frames: u64,
    pub(super) index: u64,
    /// How many frames all epochs before this one have.
    pub(super) frames_before: u64,
    /// Which frame of its folder this is, from 1.
    pub(super) number: u64,
    pub(super) rows: u64,
    pub(super) has_weights: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub(super) position: Option<Position>,
    pub(super) finished: bool,
    pub(super) rejected: u64,
    pub(super) bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) origin: Vec<FileRange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retried: Vec<String>,
}

/// A position that is there and `null` is a position, not the absence of one.
pub(super) fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Position>, D::Error> {
    Position::deserialize(from).map(Some)
}

/// What stands at the beginning of a segment: whose it is, and how its source stood then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SegmentHead {
    /// `None`: the ticks.
    pub(super) source: Option<String>,
    /// How many frames the segments before this one have.
    pub(super) number: u64,
    pub(super) standing: Standing,
}

/// Whether rows of `schema` can be written.
///
/// # Errors
/// `Unsupported` if a column is dictionary-encoded or has no IPC form.
pub(super) fn check_schema(schema: &SchemaRef) -> Result<()> {
    fn has_dictionary(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(_, _) => true,
            DataType::Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _)
            | DataType::Map(item, _) => has_dictionary(item.data_type()),
            DataType::RunEndEncoded(_, values) => has_dictionary(values.data_type()),
            DataType::Union(fields, _) => fields.iter().any(|(_, f)| has_dictionary(f.data_type())),
            _ => false,
        }
    }
    if let Some(field) = schema.fields().iter().find(|field| has_dictionary(field.data_type())) {
        return Err(Error::unsupported(format!("column `{}` cannot be journalled", field.name()))
            .detail("it is dictionary-encoded")
            .hint("give the column its plain type under `columns`"));
    }
    RowEncoder::new(schema).map(|_| ())
}

/// Writes the rows of one source.
pub(super) struct RowEncoder {
    stream: StreamEncoder,
    schema_with_weights: SchemaRef,
}

impl std::fmt::Debug for RowEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowEncoder").finish_non_exhaustive()
    }
}

impl RowEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let unsupported = |error: arrow::error::ArrowError| {
            Error::unsupported("the columns cannot be journalled").detail(error.to_string())
        };
        let mut stream = StreamEncoder::try_new(schema).map_err(unsupported)?;
        // The first batch has the schema in front, which stands in the segment's head already.
        stream.encode(&RecordBatch::new_empty(schema.clone())).map_err(unsupported)?;
        Ok(Self { stream, schema_with_weights: with_weights(schema) })
    }

    /// Appends head and rows to `out`, which need not be empty.
    pub(super) fn write(&mut self, head: &Head, rows: &[Batch], out: &mut Vec<u8>) -> Result<()> {
        write_head(head, out)?;
        let Some(first) = rows.first() else { return Ok(()) };
        if head.rows == 0 || !head.origin.is_empty() {
            return Ok(());
        }
        let rows = Batch::concat(&first.schema(), rows)?;
        let mut columns: Vec<ArrayRef> = rows.rows().columns().iter().map(compact).collect();
        let schema = match rows.weights() {
            None => rows.schema(),
            Some(weights) => {
                columns.push(Arc::new(weights.clone()));
                self.schema_with_weights.clone()
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let parts = self.stream.encode(&batch)?;
        out.reserve(parts.iter().map(Buffer::len).sum());
        for part in parts {
            out.extend_from_slice(&part);
        }
        Ok(())
    }
}

/// String views may share large buffers of which a batch uses a part: only that is written.
fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    }
}

/// Appends the head of an epoch without rows to `out`.
pub(super) fn write_head(head: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, head)
        .map_err(|error| Error::bug("a journal entry has no JSON form").source(error))?;
    let length = u32::try_from(out.len() - start - 4).map_err(|_| {
        Error::unsupported("a source's position is too large")
            .hint("let an epoch retry fewer dead letters")
    })?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(ALIGNMENT), 0);
    Ok(())
}

/// Appends the payload of a segment's first frame to `out`. Ticks have no schema.
pub(super) fn write_segment_head(
    head: &SegmentHead,
    schema: Option<&SchemaRef>,
    out: &mut Vec<u8>,
) -> Result<()> {
    write_head(head, out)?;
    if let Some(schema) = schema {
        // A stream without batches is its schema.
        for part in StreamEncoder::try_new(schema)?.finish()? {
            out.extend_from_slice(&part);
        }
    }
    Ok(())
}

/// Why a payload could not be read; the caller knows in which file it stands.
pub(super) type Reason = String;

/// The head of a payload, and what follows it.
pub(super) fn read_head<H: DeserializeOwned>(payload: &Buffer) -> Result<(H, Buffer), Reason> {
    let too_short = || "an entry is shorter than it says".to_owned();
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(too_short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let head = rest.get(..length).ok_or_else(too_short)?;
    let head = serde_json::from_slice(head)
        .map_err(|error| format!("the head of an entry is not readable: {error}"))?;
    let message = (4 + length).next_multiple_of(ALIGNMENT);
    if message > payload.len() {
        return Err(too_short());
    }
    Ok((head, payload.slice(message)))
}

/// The head of a segment and, if it has a schema, what reads its rows.
pub(super) fn read_segment_head(
    payload: &Buffer,
) -> Result<(SegmentHead, Option<RowDecoder>), Reason> {
    let (head, message): (SegmentHead, Buffer) = read_head(payload)?;
    if message.is_empty() {
        return Ok((head, None));
    }
    let schema = try_schema_from_ipc_buffer(&message).map_err(|error| error.to_string())?;
    Ok((head, Some(RowDecoder::new(Arc::new(schema)))))
}

/// Reads the rows of one segment.
#[derive(Clone, Debug)]
pub(super) struct RowDecoder {
    schema: SchemaRef,
    schema_with_weights: SchemaRef,
}

impl RowDecoder {
    fn new(schema: SchemaRef) -> Self {
        Self { schema_with_weights: with_weights(&schema), schema }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows behind `head`, whose columns lie in `message`.
    pub(super) fn read(&self, head: &Head, message: &Buffer) -> Result<Batch, Reason> {
        if head.rows == 0 || !head.origin.is_empty() {
            return Ok(Batch::empty(self.schema.clone()));
        }
        if !head.has_weights {
            return Ok(Batch::inserts(read_batch(&self.schema, head.rows, message)?));
        }
        let batch = read_batch(&self.schema_with_weights, head.rows, message)?;
        let (columns, weights) = match batch.columns() {
            [columns @ .., weights] => (columns.to_vec(), weights),
            [] => return Err("an entry lacks its weights".to_owned()),
        };
        let weights: Int64Array = weights.as_primitive::<Int64Type>().clone();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(Error::from)
            .and_then(|rows| Batch::new(rows, weights))
            .map_err(|error| error.to_string())
    }
}

fn read_batch(schema: &SchemaRef, rows: u64, message: &Buffer) -> Result<RecordBatch, Reason> {
    let too_short = || "rows are shorter than they say".to_owned();
    let (start, rest) = message.split_first_chunk::<4>().ok_or_else(too_short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
    if *start != CONTINUATION {
        return Err("rows do not begin like an Arrow message".to_owned());
    }
    let length = u32::from_le_bytes(*length) as usize;
    let metadata = rest.get(..length).ok_or_else(too_short)?;
    let body = message.slice(8 + length);
    let envelope = ipc::root_as_message(metadata).map_err(|error| error.to_string())?;
    let batch =
        envelope.header_as_record_batch().ok_or("an Arrow message is not a record batch")?;
    if u64::try_from(batch.length()).ok() != Some(rows) {
        return Err(format!("{} rows stand where {rows} should", batch.length()));
    }
    // The decoder takes this for granted.
    let is_inside = |buffer: &ipc::Buffer| {
        let (Ok(offset), Ok(length)) =
            (usize::try_from(buffer.offset()), usize::try_from(buffer.length()))
        else {
            return false;
        };
        offset.checked_add(length).is_some_and(|end| end <= body.len())
    };
    if !batch.buffers().is_some_and(|buffers| buffers.iter().all(is_inside)) {
        return Err(too_short());
    }
    RecordBatchDecoder::try_new(&body, batch, schema.clone(), &HashMap::new(), &envelope.version())
        .and_then(RecordBatchDecoder::read_record_batch)
        .map_err(|error| error.to_string())
}

/// `schema` with a last column for the weights. It is never looked up by its name.
fn with_weights(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("weight", DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}
