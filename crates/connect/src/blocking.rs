//! Work that waits for the operating system, off the threads that must not wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape, Sink, Snapshot};
use syncline_change::source::Rejected;
use syncline_change::{Error, Result};

/// Runs `work` on a thread that may block. Work that has begun goes on to its end even if the
/// future is dropped.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::bug("a blocking task did not end").detail(error.to_string())),
    }
}

/// A [`Sink`] whose calls block the thread. It gets either [`write`](Self::write) or
/// [`replace`](Self::replace), as its `DELIVERY` says.
///
/// A call may be repeated although the first one succeeded (its future was dropped), so a call must
/// recognise epochs that are already written.
pub(crate) trait BlockingSink: Send + 'static {
    const DELIVERY: Delivery;

    fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()>;

    fn write(&mut self, _epochs: &[EpochChanges]) -> Result<Progress> {
        Err(Error::bug("a sink of snapshots was given changes"))
    }

    fn replace(&mut self, _snapshot: &Snapshot) -> Result<Progress> {
        Err(Error::bug("a sink of changes was given a snapshot"))
    }

    fn give_up(
        &mut self,
        _epochs: &[EpochChanges],
        _error: &Error,
    ) -> Option<(Progress, Vec<Rejected>)> {
        None
    }
}

/// Makes a [`Sink`] of a [`BlockingSink`].
pub(crate) struct OffThread<T> {
    sink: Arc<Mutex<T>>,
}

impl<T: BlockingSink> OffThread<T> {
    pub(crate) fn new(sink: T) -> Self {
        Self { sink: Arc::new(Mutex::new(sink)) }
    }

    async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let sink = self.sink.clone();
        run(move || work(&mut lock(&sink))).await
    }
}

/// A call that panicked left the sink as it was on an error, which the next call mends.
pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl<T: BlockingSink> Sink for OffThread<T> {
    fn delivery(&self) -> Delivery {
        T::DELIVERY
    }

    async fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        let (shape, progress) = (shape.clone(), progress.cloned());
        self.call(move |sink| sink.open(&shape, progress.as_ref())).await
    }

    async fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let epochs = epochs.to_vec();
        self.call(move |sink| sink.write(&epochs)).await
    }

    async fn replace(&mut self, snapshot: &Snapshot) -> Result<Progress> {
        let snapshot = snapshot.clone();
        self.call(move |sink| sink.replace(&snapshot)).await
    }

    fn give_up(
        &mut self,
        epochs: &[EpochChanges],
        error: &Error,
    ) -> Option<(Progress, Vec<Rejected>)> {
        lock(&self.sink).give_up(epochs, error)
    }
}
