//! Rows to the text or bytes that a target stores, in the order of the data's way: [`order`] says
//! which changes an epoch is written as, [`json`], [`csv`] and [`parquet`] write them.
//!
//! Writers append to a buffer and call back after each line, so that whoever owns the buffer can
//! empty it: an epoch of any size is written in bounded memory.

pub mod csv;
pub mod json;
pub mod order;
pub mod parquet;

use syncline_change::Result;

/// Called after each line with the buffer that it was appended to; may take the bytes out.
pub type AfterLine<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<()>;
