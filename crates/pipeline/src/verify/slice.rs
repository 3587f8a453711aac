//! A slice: whether its epochs are those of the run, and what is said of the epochs before them.

use syncline_change::{Error, Result};
use syncline_store::checkpoints;
use syncline_store::merkle::{self, verify_consistency};

use super::journal::Comparison;
use super::manifest::Claims;
use super::report::{Mismatch, Report, SliceCheck};
use super::views::shown;
use super::{Options, Run};
use crate::past::Replayed;
use crate::runtime::Recorded;

/// Refuses what only a whole run has.
pub(super) fn check_options(options: &Options) -> Result<()> {
    let asked = [
        (options.at.is_some(), "--at"),
        (options.sinks, "--sinks"),
        (options.sample.is_some(), "--sample"),
    ];
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, option)) => {
            Err(Error::config(format!("{option} cannot be had of a slice of a run"))
                .hint("a slice is verified as a whole, every epoch of it"))
        }
        None => Ok(()),
    }
}

/// What a slice is, and which views are left out of it, for the report.
pub(super) fn begin(run: &Run<'_>, report: &mut Report) -> Result<()> {
    let Some(slice) = run.past.slice() else { return Ok(()) };
    report.slice = Some(SliceCheck {
        from: slice.from,
        base_rows: slice.base_rows,
        base_views: 0,
        anchor: slice.anchor.epoch,
        by: if slice.anchor.checkpoint.is_some() { "checkpoint" } else { "manifest" }.to_owned(),
    });
    for (view, why) in &slice.left_out {
        report.unchecked.push(format!("view {}: {why}", shown(view)));
    }
    let recorded = Recorded::read(run.past.dir())?;
    let edited = run.circuit_views.iter().map(|view| view.name.as_str());
    let edited = edited.filter(|view| !recorded.has(view, slice.from));
    for view in edited.filter(|view| !run.past.is_left_out(view)) {
        report.unchecked.push(format!(
            "the changes of view {}: it has been edited since, and the run recorded what it was then",
            shown(view)
        ));
    }
    Ok(())
}

/// Holds what views show over the base against the checkpoint before the first epoch, if there is one.
/// `false`: something differs.
pub(super) fn check_base(run: &Run<'_>, state: &Replayed, report: &mut Report) -> Result<bool> {
    let epoch = run.past.before();
    let Some(checkpoint) = checkpoints::read(run.past.dir(), epoch)? else { return Ok(true) };
    let chain = run.past.slice().map(|slice| slice.chain_before.as_str());
    if checkpoint.input != run.past.input_before() || chain != Some(checkpoint.chain.as_str()) {
        let message = "the epochs before it are not those that the checkpoint before it is of";
        report.mismatches.push(Mismatch::new("the slice", Some(epoch), message));
        return Ok(false);
    }
    let mut views = 0;
    for (name, content) in state.contents().filter(|(name, _)| !run.past.is_left_out(name)) {
        let recorded = checkpoint.views.get(name).and_then(|view| view.digest.as_deref());
        let Some(recorded) = recorded else { continue };
        if content.digest(name)?.hex() != recorded {
            let message = "over the base it does not hold what the checkpoint of that epoch says";
            report.mismatches.push(Mismatch::new(&format!("view {name}"), Some(epoch), message));
            return Ok(false);
        }
        views += 1;
    }
    if let Some(slice) = &mut report.slice {
        slice.base_views = views;
    }
    Ok(true)
}

/// Holds the epochs against what the run said of itself, and says what all of this leaves open.
pub(super) fn check_anchor(
    run: &Run<'_>,
    comparison: &mut Comparison<'_>,
    claims: Option<&mut Claims>,
    report: &mut Report,
) -> Result<()> {
    let Some(slice) = run.past.slice() else { return Ok(()) };
    // A manifest that cannot be believed has been named already.
    let is_told = report.mismatches.iter().any(|mismatch| mismatch.what == "the manifest");
    let found = anchor_mismatch(run, comparison, claims)?;
    report.mismatches.extend(found.filter(|found| !is_told || found.what != "the manifest"));
    if run.checkpoint.is_none() {
        let epoch = slice.to;
        report.unchecked.push(format!(
            "what views held at the end of epoch {epoch}, by digests: there is no checkpoint of it"
        ));
    }
    let before = slice.before();
    if before > 0 {
        let but = match report.slice.as_ref().map_or(0, |slice| slice.base_views) {
            0 => String::new(),
            1 => "; 1 view over it is as in the checkpoint of that epoch".to_owned(),
            views => format!("; {views} views over it are as in the checkpoint of that epoch"),
        };
        report.unchecked.push(format!("the epochs before {}", slice.from));
        report.unchecked.push(format!(
            "the base, what tables are said to have held at the end of epoch {before}{but}"
        ));
    }
    Ok(())
}

fn anchor_mismatch(
    run: &Run<'_>,
    comparison: &mut Comparison<'_>,
    claims: Option<&mut Claims>,
) -> Result<Option<Mismatch>> {
    let Some(slice) = run.past.slice() else { return Ok(None) };
    if comparison.epoch() < slice.to {
        // It differs before its end, which has been said.
        return Ok(None);
    }
    let (to, end) = (slice.to, slice.anchor.epoch);
    let (by, root, chain) = match (&slice.anchor.checkpoint, &claims) {
        (Some(checkpoint), _) => {
            ("the checkpoint", Some(checkpoint.input.root()), checkpoint.chain.clone())
        }
        (None, Some(claims)) if claims.said().0 == end => {
            let (_, root, chain) = claims.said();
            let root = blake3::Hash::from_hex(root).ok().map(merkle::Hash::from);
            ("the manifest", root, chain.to_owned())
        }
        (None, _) => {
            let message = "the slice is to be held against it, and it is not there";
            return Ok(Some(Mismatch::new("the manifest", Some(end), message)));
        }
    };
    let (ours, proof) = ((to, comparison.input().root()), slice.proof()?);
    if !root.is_some_and(|root| verify_consistency(ours, (end, root), &proof)) {
        let message = format!("the epochs are not those of the run that {by} of epoch {end} is of");
        return Ok(Some(Mismatch::new("the input root", Some(to), message)));
    }
    match comparison.chain_at(end)? {
        Err(mismatch) => return Ok(Some(mismatch)),
        Ok(found) if found != chain => {
            let message =
                format!("the records are not those of the run that {by} of epoch {end} is of");
            return Ok(Some(Mismatch::new("the epoch log", Some(to), message)));
        }
        Ok(_) => {}
    }
    if let (None, Some(claims)) = (&slice.anchor.checkpoint, claims) {
        claims.is_shown();
    }
    Ok(None)
}
