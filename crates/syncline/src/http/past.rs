//! Kept views as they were at the end of an epoch, computed again from the journal.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use syncline_change::{Error, Result};
use syncline_engine::Content;
use syncline_pipeline::file::{LoadError, Pipeline};
use syncline_pipeline::past::{Keep, Past, Replayed};
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::runtime::state::Shared;

use super::answer::Refusal;
use super::{Server, turn};

/// What was computed lately is kept, so that its pages and a way back take no second replay.
const CONTENTS_MAX: usize = 16;
const ROWS_MAX: usize = 200_000;

/// A view at the end of an epoch.
pub(super) struct Moment {
    view: String,
    pub(super) epoch: u64,
    pub(super) time_us: i64,
    pub(super) content: Content,
}

/// The moments that were asked for lately, oldest first.
#[derive(Default)]
pub(super) struct Moments(Mutex<VecDeque<Arc<Moment>>>);

impl Moments {
    fn find(&self, view: &str, epoch: u64) -> Option<Arc<Moment>> {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = moments.iter().position(|m| m.view == view && m.epoch == epoch)?;
        let found = moments.remove(place)?;
        moments.push_back(found.clone());
        Some(found)
    }

    fn keep(&self, moment: &Arc<Moment>) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push_back(moment.clone());
        let rows = |moments: &VecDeque<Arc<Moment>>| -> usize {
            moments.iter().map(|moment| moment.content.len()).sum()
        };
        while moments.len() > CONTENTS_MAX || rows(&moments) > ROWS_MAX {
            moments.pop_front();
        }
    }
}

/// Goes to false when nobody waits for a replay any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl Server {
    /// A kept view at the end of an epoch. One replay runs at a time; it ends early if the request
    /// does.
    pub(super) async fn moment(
        self: &Arc<Self>,
        view: &str,
        epoch: u64,
    ) -> Result<Arc<Moment>, Refusal> {
        check_epoch(epoch, self.shared.epoch())?;
        if let Some(moment) = self.moments.find(view, epoch) {
            return Ok(moment);
        }
        let turn = turn(&self.replays).await?;
        // Whoever had the turn before may have computed just that.
        if let Some(moment) = self.moments.find(view, epoch) {
            return Ok(moment);
        }
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let (is_wanted, server, view) = (wanted.0.clone(), self.clone(), view.to_owned());
        let replay = self.off_thread(turn, move |shared| {
            let pipeline = server.description.file.clone();
            let moment = Arc::new(replayed(pipeline, shared, view, epoch, &is_wanted)?);
            server.moments.keep(&moment);
            Ok(moment)
        });
        let moment = replay.await;
        drop(wanted);
        moment
    }
}

fn check_epoch(epoch: u64, last: u64) -> Result<(), Refusal> {
    if (1..=last).contains(&epoch) {
        return Ok(());
    }
    let message = match epoch {
        0 => "there is no epoch 0: the first is 1".to_owned(),
        epoch => format!("there is no epoch {epoch} yet"),
    };
    Err(Refusal::new(StatusCode::NOT_FOUND, message).detail(format!("the last epoch is {last}")))
}

fn replayed(
    pipeline: Pipeline,
    shared: &Shared,
    view: String,
    epoch: u64,
    is_wanted: &AtomicBool,
) -> Result<Moment, Refusal> {
    let state = replay(pipeline, shared, &view, epoch, is_wanted);
    let state = state.map_err(Error::from)?;
    if state.epoch != epoch {
        return Err(Refusal::busy("nobody waited for the replay any more"));
    }
    let time_us = state.time_us;
    let content = state.into_content(&view).ok_or_else(|| Error::bug("a view was not replayed"))?;
    Ok(Moment { view, epoch, time_us, content })
}

/// Leads a circuit through the journal until `epoch`, or until nobody waits for it.
fn replay(
    pipeline: Pipeline,
    shared: &Shared,
    view: &str,
    epoch: u64,
    is_wanted: &AtomicBool,
) -> Result<Replayed, LoadError> {
    let prepared = Prepared::new(pipeline)?;
    let past = Past::open(&prepared, shared.data_dir().path())?;
    let mut state =
        Replayed::new(&prepared, &prepared.views, None, |name| Keep::rows_if(name == view))?;
    for input in past.inputs(Some(epoch))? {
        if !is_wanted.load(Relaxed) {
            break;
        }
        state.step(&prepared, input?)?;
    }
    Ok(state)
}
