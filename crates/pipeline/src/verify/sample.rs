//! Some rows of every view, looked for by the batch engine, in place of all of them.
//!
//! What a view holds is what the circuit makes of the journal again, which the epoch log and the checkpoint
//! have confirmed by their digests. So the rows are those of the run, and what remains is whether they
//! are right.

use serde::{Deserialize, Serialize};
use syncline_change::Result;
use syncline_engine::Content;

use super::Run;
use super::divergence::shown_difference;
use super::report::{Mismatch, Report};
use super::views::{Moment, goes_by_history, is_known_to_differ, shown, skip};
use crate::file::LoadError;
use crate::past::{Replayed, Tables};

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// So many different ones of each view.
    pub rows: u64,
    /// What the choice follows from.
    pub seed: u64,
}

/// The rows that were chosen of each view, by its name.
pub(super) struct Chosen {
    views: Vec<(String, Content)>,
}

impl Chosen {
    /// Of what the circuit holds.
    pub(super) fn of(state: &Replayed, Sample { rows, seed }: Sample) -> Result<Self> {
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        let views = state
            .contents()
            .map(|(name, content)| Ok((name.to_owned(), content.sample(count, seed)?)));
        Ok(Self { views: views.collect::<Result<_>>()? })
    }

    /// Looks for each of them by the batch engine.
    pub(super) fn check(
        self,
        run: &Run<'_>,
        tables: &Tables,
        moment: &Moment,
        report: &mut Report,
    ) -> Result<(), LoadError> {
        let engine = run.prepared.batch_engine()?;
        let contents = tables.contents()?;
        for (view, claimed) in self.views {
            if is_known_to_differ(&view, report) {
                continue;
            }
            if let Some(why) = goes_by_history(run.prepared, &view, moment.has_gone_on) {
                skip(&view, why, report);
                continue;
            }
            let watermark = |view: &str| moment.watermark(view);
            let rows = claimed.all()?;
            match engine.look_for(&contents, moment.time_us, watermark, &view, &rows) {
                Ok(found) => compare(run, &view, (&claimed, &found), report)?,
                Err(error) => skip(&view, &error.to_string(), report),
            }
        }
        Ok(())
    }
}

/// The rows of a view by the circuit and by the batch engine.
fn compare(
    run: &Run<'_>,
    view: &str,
    (claimed, found): (&Content, &Content),
    report: &mut Report,
) -> Result<()> {
    let rows = shown_difference(claimed, found)?;
    if !rows.is_empty() {
        let message = "the circuit and the batch engine disagree about rows of the sample: this is a defect of Syncline, please report it (verify without --sample says since when, and of which other rows)";
        let mut mismatch = Mismatch::new(&format!("view {view}"), Some(run.epoch), message);
        mismatch.rows = rows;
        report.views.retain(|check| check.view != view);
        report.mismatches.push(mismatch);
        return Ok(());
    }
    let Some(check) = report.views.iter_mut().find(|check| check.view == view) else {
        return Ok(());
    };
    let (sampled, all) = (claimed.len() as u64, check.rows);
    check.sampled = Some(sampled);
    let rest = match all - sampled {
        0 => String::new(),
        rest => format!("{rest} of {all} rows, and "),
    };
    let what = format!("view {}, by the batch engine: {rest}whether rows are missing", shown(view));
    report.unchecked.push(what);
    Ok(())
}
