//! Where state goes that memory has no room for.

use arrow::buffer::Buffer;

use crate::Result;

/// A place outside of memory that pieces of state are written to once and read from at will.
///
/// What is there is no more durable than memory: it goes with the process.
pub trait Spill: Send + Sync {
    /// Begins a piece of several parts, of which the one numbered `i` has at most `sizes[i]` bytes.
    ///
    /// # Errors
    /// `Storage` if the place refuses.
    fn begin(&self, sizes: &[usize]) -> Result<Box<dyn SpillWriter>>;
}

/// A piece while it is being written.
pub trait SpillWriter: Send + Sync + std::fmt::Debug {
    /// Adds to the end of a part; a few KiB at a time, because nothing is gathered here.
    ///
    /// # Errors
    /// `Storage` if the place refuses; `Bug` if the part becomes longer than was said.
    fn append(&mut self, part: usize, bytes: &[u8]) -> Result<()>;

    /// The parts, each aligned to 64 bytes, as they can be read until nobody has them any more.
    ///
    /// # Errors
    /// `Storage` if the place refuses.
    fn finish(self: Box<Self>) -> Result<Vec<Buffer>>;
}
