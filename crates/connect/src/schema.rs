//! The columns of a source: what the pipeline file says wins over what the lock has pinned, which
//! wins over what the data looks like.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use syncline_change::{Error, Result, types};

use crate::config::{SourceCommon, SourceConfig};
use crate::decode::{column_index, unknown_name};
use crate::file::Format;
use crate::{file, http, nexmark};

/// The columns of the source `name`, all of which may be null. Relative paths are in `base_dir`;
/// without `pinned` columns, files are read to find them. May block.
///
/// # Errors
/// `Config` if a column that is named is not there, or is not what it is used as; `Input` or
/// `Storage` if the data cannot be read.
pub fn resolve_schema(
    name: &str,
    config: &SourceConfig,
    base_dir: &Path,
    pinned: Option<&Schema>,
) -> Result<SchemaRef> {
    let resolved = columns(config, base_dir, pinned).and_then(|schema| {
        check_uses(config.common(), &schema)?;
        Ok(Arc::new(schema))
    });
    resolved.map_err(|error| error.within(format!("source `{name}`")))
}

fn columns(config: &SourceConfig, base_dir: &Path, pinned: Option<&Schema>) -> Result<Schema> {
    let configured = configured(config.common())?;
    let found = match (pinned, config) {
        (_, SourceConfig::Nexmark(config)) => {
            nexmark::check(config)?;
            Some(nexmark::schema(config.table).as_ref().clone())
        }
        (Some(pinned), _) => Some(pinned.clone()),
        (None, SourceConfig::File(file)) => {
            let found = file::source::infer(file, base_dir)?;
            if let Some(found) = &found {
                check_header(file, &configured, found)?;
            }
            found
        }
        (None, SourceConfig::Http(http)) => Some(http::schema(http)?.as_ref().clone()),
    };
    let is_headless = matches!(
        config,
        SourceConfig::File(file) if file.format == Format::Csv && !file.csv.header
    );
    let found = match found {
        // Without a header the order of `columns` is the order of the fields.
        Some(_) if is_headless && !configured.is_empty() => None,
        found => found,
    };
    if found.is_none() && configured.is_empty() {
        return Err(Error::config("there is nothing yet to tell the columns from").hint(
            "check `path`, which is relative to the pipeline file; or name the columns: \
             columns: {id: BIGINT, name: TEXT}",
        ));
    }
    Ok(overlay(found.as_ref(), configured))
}

/// What the pipeline file says of columns.
fn configured(common: &SourceCommon) -> Result<IndexMap<String, DataType>> {
    let parsed = common.columns.iter().map(|(name, type_name)| {
        let data_type =
            types::parse(type_name).map_err(|error| error.within(format!("column `{name}`")))?;
        Ok((name.clone(), data_type))
    });
    parsed.collect()
}

/// The columns that were found, with the types that are configured; then those that were not found.
fn overlay(found: Option<&Schema>, mut configured: IndexMap<String, DataType>) -> Schema {
    let mut fields = Vec::new();
    for field in found.iter().flat_map(|schema| schema.fields()) {
        let configured = configured.shift_remove(field.name());
        let data_type = configured.unwrap_or_else(|| field.data_type().clone());
        fields.push(Field::new(field.name(), data_type, true));
    }
    let not_found = configured.into_iter();
    fields.extend(not_found.map(|(name, data_type)| Field::new(name, data_type, true)));
    Schema::new(fields)
}

/// A CSV or Parquet file has all its columns in its head: one that is not there is misspelt.
fn check_header(
    config: &file::SourceConfig,
    configured: &IndexMap<String, DataType>,
    found: &Schema,
) -> Result<()> {
    let has_head = match config.format {
        Format::Csv => config.csv.header,
        Format::Parquet => true,
        Format::Json | Format::DebeziumJson => false,
    };
    let missing = configured.keys().find(|name| found.index_of(name).is_err());
    match missing {
        Some(name) if has_head => {
            let known = found.fields().iter().map(|field| field.name().as_str());
            Err(unknown_name(format!("`columns`: the data has no column `{name}`"), name, known))
        }
        _ => Ok(()),
    }
}

/// The primary key and the event time are columns that can be that.
fn check_uses(common: &SourceCommon, schema: &Schema) -> Result<()> {
    for name in &common.primary_key {
        column_index(schema, name).map_err(|error| error.within("`primary_key`"))?;
    }
    let Some(event_time) = &common.event_time else { return Ok(()) };
    let column =
        column_index(schema, &event_time.column).map_err(|error| error.within("`event_time`"))?;
    match schema.field(column).data_type() {
        DataType::Timestamp(..) | DataType::Date32 => Ok(()),
        other => {
            let (name, other) = (&event_time.column, types::name(other));
            let message = format!("`event_time`: column `{name}` is {other}, not a time");
            Err(Error::config(message)
                .hint(format!("if it can be read as one, say so: columns: {{{name}: TIMESTAMP}}")))
        }
    }
}

#[cfg(test)]
mod tests;
