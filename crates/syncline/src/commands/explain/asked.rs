//! What a row is told by: `column=value`, in the types of the view's columns.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde_json::Value;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::Decode;
use syncline_change::{Batch, Error, Result, json};
use syncline_connect::decode::json::JsonDecode;
use syncline_pipeline::file::nearest;

/// The words of the command line, taken apart.
pub(super) struct Words<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) view: &'a str,
    pub(super) conditions: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    /// # Errors
    /// `Config` if it is not plain which word is what.
    pub(super) fn new(words: &'a [String]) -> Result<Self> {
        let names = words.iter().take_while(|word| !word.contains('=')).count();
        let (names, conditions) = words.split_at(names);
        let (file, view) = match names {
            [view] => (None, view),
            [file, view] => (Some(Path::new(file)), view),
            [] => return Err(Error::config("which view is asked about must be said")),
            [_, _, other, ..] => return Err(no_condition(other)),
        };
        let conditions = conditions.iter().map(|word| word.split_once('=').ok_or(word));
        let conditions = conditions.collect::<Result<_, _>>().map_err(|word| no_condition(word))?;
        Ok(Self { file, view, conditions })
    }
}

fn no_condition(word: &str) -> Error {
    Error::config(format!("`{word}` says of no column what the row has in it"))
        .hint("after the view come words like `origin=JFK`")
}

/// A row with the values that are asked for, in the columns of `schema` that they are for.
///
/// # Errors
/// `Config` if there is no such column, or the value is not of its type.
pub(super) fn condition(
    view: &str,
    schema: &SchemaRef,
    conditions: &[(&str, &str)],
) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(conditions.len());
    let mut text = String::from("{");
    for (name, value) in conditions {
        let field = schema.field_with_name(name).map_err(|_| unknown_column(view, schema, name))?;
        if fields.iter().any(|other: &arrow::datatypes::Field| other.name() == name) {
            return Err(Error::config(format!("`{name}` is given twice")));
        }
        let comma = if fields.is_empty() { "" } else { "," };
        let value = as_json(value, field.data_type());
        text.push_str(&format!("{comma}{}:{value}", Value::from(*name)));
        fields.push(field.clone().with_nullable(true));
    }
    text.push('}');
    let schema = Arc::new(Schema::new(fields));
    if conditions.is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        return Ok(RecordBatch::try_new_with_options(schema, vec![], &options)?);
    }
    let (rows, rejected) = JsonDecode::new(schema, &[])?.decode(text.as_bytes(), None)?;
    match rejected.first() {
        Some(rejected) => Err(Error::config("a value is not of its column's type")
            .detail(rejected.message.clone())
            .hint("write it as `syncline query` shows it")),
        None => canonical(rows.rows().clone()),
    }
}

fn unknown_column(view: &str, schema: &SchemaRef, name: &str) -> Error {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let error = Error::config(format!("`{view}` has no column `{name}`"));
    match nearest(name, names()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
    }
}

/// A value as JSON that a column of this type reads. What is in quotes is a text as it stands.
fn as_json(value: &str, data_type: &DataType) -> String {
    let quoted = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let is_plain = data_type.is_integer()
        || data_type.is_floating()
        || data_type.is_nested()
        || *data_type == DataType::Boolean;
    match quoted {
        Some(text) => Value::from(text).to_string(),
        None if value == "NULL" => "null".to_owned(),
        None if is_plain && serde_json::from_str::<Value>(value).is_ok() => value.to_owned(),
        None => Value::from(value).to_string(),
    }
}

/// The condition as people and programs read it.
pub(super) fn shown(condition: &RecordBatch) -> Result<Value> {
    Ok(json::objects(condition)?.pop().unwrap_or_default())
}

/// Finds the rows that a condition is true of.
pub(super) struct Fitting {
    columns: Vec<usize>,
    codec: RowCodec,
    row: Box<[u8]>,
}

impl Fitting {
    pub(super) fn new(schema: &SchemaRef, condition: &RecordBatch) -> Result<Self> {
        let columns = condition.schema_ref().fields().iter().map(|f| schema.index_of(f.name()));
        let codec = RowCodec::new(condition.schema())?;
        let encoded = codec.encode_batch(condition)?;
        let row = encoded.iter().next().map_or_else(Box::default, |row| row.data().into());
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, codec, row })
    }

    /// The changes of rows that it is true of.
    pub(super) fn of(&self, change: &Batch) -> Result<Batch> {
        let rows = change.rows().project(&self.columns)?;
        let encoded = self.codec.encode_batch(&rows)?;
        let fits = encoded.iter().map(|row| Some(row.data() == &*self.row));
        change.filter(&fits.collect())
    }
}
