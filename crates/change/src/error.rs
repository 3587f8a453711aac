//! One error type for all crates: what happened, where and why, and what to do about it.

use std::fmt;

/// The result of anything that can fail in a way its user has to hear about.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the operator of a pipeline does next. The runtime decides on retries by this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Mend the pipeline file or the command line, then start again.
    Config,
    /// Mend the data: what arrived cannot be taken as it is.
    Input,
    /// Wait: the other side does not answer or is busy. Retried with backoff.
    Unavailable,
    /// Make room or mend permissions: the disk refused. Retried with backoff.
    Storage,
    /// Restore: something on disk is not what was written. Never retried.
    Corrupt,
    /// Settle who owns it: another process, or another pipeline, holds the same thing.
    Conflict,
    /// Do it differently: this is not supported.
    Unsupported,
    /// Report it: this is a defect of Syncline.
    Bug,
}

impl ErrorKind {
    /// The name used in logs, metrics (`error_type`) and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Input => "input",
            Self::Unavailable => "unavailable",
            Self::Storage => "storage",
            Self::Corrupt => "corrupt",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Bug => "bug",
        }
    }

    /// Whether the same call may succeed later without anybody changing the pipeline.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Unavailable | Self::Storage => true,
            Self::Config
            | Self::Input
            | Self::Corrupt
            | Self::Conflict
            | Self::Unsupported
            | Self::Bug => false,
        }
    }
}

/// An error as people read it: `message` says what failed and where, `detail` why, `hint` what to
/// do. All three are whole sentences without a trailing full stop in `message`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says what failed, and where.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            source: None,
        }))
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// A failed call of the operating system on `path`, `doing` what ("read", "create", ...).
    pub fn io(doing: &str, path: impl AsRef<std::path::Path>, error: std::io::Error) -> Self {
        let path = path.as_ref().display();
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => Some("check the path, or create what it names"),
            std::io::ErrorKind::PermissionDenied => Some("check the owner and the permissions"),
            std::io::ErrorKind::StorageFull => Some("make room on the disk; nothing was lost"),
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Some("mount the file system writable, or name another folder")
            }
            _ => None,
        };
        let mut made = Self::new(ErrorKind::Storage, format!("cannot {doing} {path}"))
            .detail(error.to_string())
            .source(error);
        if let Some(hint) = hint {
            made = made.hint(hint);
        }
        made
    }

    /// Why it failed: the cause in the words of whatever noticed it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// What the reader can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The error underneath, for the log.
    pub fn source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error with `context` ("source `flights`") put before its message.
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn detail_text(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// All three parts, a line each, as a terminal shows them.
    pub fn report(&self) -> String {
        let mut text = self.0.message.clone();
        if let Some(detail) = &self.0.detail {
            text.push_str("\n  detail: ");
            text.push_str(&detail.replace('\n', "\n          "));
        }
        if let Some(hint) = &self.0.hint {
            text.push_str("\n  hint:   ");
            text.push_str(&hint.replace('\n', "\n          "));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::bug("a columnar operation failed").detail(error.to_string()).source(error)
    }
}
