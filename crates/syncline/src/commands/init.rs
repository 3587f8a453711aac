//! `init`: a pipeline to start from.

use std::path::Path;
use std::process::ExitCode;

use super::Failure;

pub(super) fn init(_: &Path) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
