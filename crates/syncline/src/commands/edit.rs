//! What `plan` says of the next run on a data directory that there is.

use serde_json::{Value, json};
use syncline_pipeline::edit::{Edit, SinkEdit, ViewEdit};
use syncline_pipeline::prepare::alert_of;

/// A line for each view, alert and sink.
pub(super) fn lines(edit: &Edit) -> Vec<String> {
    let epochs = match edit.epochs {
        1 => "1 epoch".to_owned(),
        epochs => format!("{epochs} epochs"),
    };
    let views = edit.views.iter().map(|(name, edit)| {
        let what = match alert_of(name) {
            Some(alert) => format!("alert `{alert}`"),
            None => format!("view `{name}`"),
        };
        match edit {
            ViewEdit::Unchanged => format!("{what}: unchanged"),
            ViewEdit::New => format!("{what}: new, made from {epochs} of the journal"),
            ViewEdit::Changed => format!("{what}: changed, made anew from {epochs} of the journal"),
            ViewEdit::Gone => format!("{what}: gone"),
        }
    });
    let sinks = edit.sinks.iter().map(|(name, edit)| {
        let does = match edit {
            SinkEdit::Unchanged => "nothing to do".to_owned(),
            SinkEdit::New => "new, written from the first epoch on".to_owned(),
            SinkEdit::Difference { old } => {
                format!("gets the difference: rows as of epoch {old} -> rows as they are meant now")
            }
            SinkEdit::Replaced => "replaced as a whole".to_owned(),
            SinkEdit::Refused(why) => {
                format!("cannot: {}", why.detail_text().unwrap_or(why.message()))
            }
        };
        format!("sink `{name}`: {does}")
    });
    views.chain(sinks).collect()
}

pub(super) fn as_json(edit: &Edit) -> Value {
    let views = edit.views.iter().map(|(name, edit)| {
        let change = match edit {
            ViewEdit::Unchanged => "unchanged",
            ViewEdit::New => "new",
            ViewEdit::Changed => "changed",
            ViewEdit::Gone => "gone",
        };
        json!({"name": name, "change": change})
    });
    let sinks = edit.sinks.iter().map(|(name, edit)| match edit {
        SinkEdit::Unchanged => json!({"name": name, "change": "none"}),
        SinkEdit::New => json!({"name": name, "change": "new"}),
        SinkEdit::Difference { old } => {
            json!({"name": name, "change": "difference", "old_epoch": old})
        }
        SinkEdit::Replaced => json!({"name": name, "change": "replaced"}),
        SinkEdit::Refused(why) => {
            json!({"name": name, "change": "refused", "why": why.detail_text()})
        }
    });
    json!({
        "epochs": edit.epochs,
        "views": views.collect::<Vec<_>>(),
        "sinks": sinks.collect::<Vec<_>>(),
    })
}
