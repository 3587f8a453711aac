//! Folders for tests.

use tempfile::TempDir;

/// A folder that goes when the test ends; in memory where that is possible, because these tests
/// wait for the disk thousands of times.
pub(crate) fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
