//! Digests of logical rows: the same on every machine, in every version, however rows are laid out.
//!
//! - [`ChangeDigest`]: a hash of changes in their order. Cheap; finds where two runs part.
//! - [`SetDigest`]: a hash of a multiset of rows, whatever their order: what a view holds.
//!
//! What is hashed is defined here, and by nothing else: [`row`] says what bytes a row is, [`changes`]
//! what a column is. Another definition needs another context string.

mod changes;
mod row;
mod set;

pub use changes::ChangeDigest;
pub use row::RowBytes;
pub use set::SetDigest;

#[cfg(test)]
mod tests;
