//! The changes of views, no faster than somebody can look at them.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use syncline_change::{Batch, json};
use tokio::time::Instant;

/// How long after an event of a view its next one comes.
const INTERVAL: Duration = Duration::from_millis(50);
/// The most changes in one event.
const CHANGES_MAX: usize = 500;

/// What an event tells of a view.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ViewChanges {
    view: String,
    /// The last epoch that is told of.
    epoch: u64,
    /// Rows in the view after it.
    total: usize,
    changes: Vec<Change>,
    /// Whether there were more changes than are told.
    truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Change {
    weight: i64,
    row: Value,
}

/// The views that are told of, and what of them waits for its time.
pub(super) struct Paced {
    views: HashMap<String, View>,
}

struct View {
    /// No event before this.
    not_before: Instant,
    waiting: Option<ViewChanges>,
}

impl Paced {
    pub(super) fn new(views: Vec<String>) -> Self {
        let now = Instant::now();
        let views = views.into_iter().map(|name| (name, View { not_before: now, waiting: None }));
        Self { views: views.collect() }
    }

    /// Takes in an epoch's changes of `relation`, if that is told of.
    pub(super) fn add(
        &mut self,
        relation: &str,
        epoch: u64,
        total: usize,
        batches: &[Batch],
        now: Instant,
    ) {
        let Some(view) = self.views.get_mut(relation) else { return };
        view.not_before = view.not_before.max(now);
        let waiting = view.waiting.get_or_insert_with(|| ViewChanges {
            view: relation.to_owned(),
            epoch,
            total,
            changes: Vec::new(),
            truncated: false,
        });
        (waiting.epoch, waiting.total) = (epoch, total);
        for batch in batches {
            waiting.add(batch);
        }
    }

    /// When the next event is due, if anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.views.values().filter(|view| view.waiting.is_some());
        waiting.map(|view| view.not_before).min()
    }

    /// The events that are due.
    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = ViewChanges> {
        let due = self.views.values_mut().filter(move |view| view.not_before <= now);
        due.filter_map(move |view| {
            let changes = view.waiting.take()?;
            view.not_before = now + INTERVAL;
            Some(changes)
        })
    }
}

impl ViewChanges {
    fn add(&mut self, batch: &Batch) {
        let room = CHANGES_MAX - self.changes.len();
        self.truncated |= batch.num_rows() > room;
        let told = batch.slice(0, batch.num_rows().min(room));
        match json::arrays(told.rows()) {
            Ok(rows) => {
                let changes = rows.into_iter().enumerate();
                self.changes.extend(changes.map(|(i, row)| Change { weight: told.weight(i), row }));
            }
            // Whoever reads the view hears why; here it is enough to say that something is missing.
            Err(_) => self.truncated = true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};

    use super::*;

    fn batch(values: Vec<i64>, weights: Vec<i64>) -> Batch {
        let column = Arc::new(Int64Array::from(values)) as _;
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Batch::new(rows, Int64Array::from(weights)).unwrap()
    }

    #[test]
    fn the_first_change_is_told_at_once_and_what_comes_sooner_waits() {
        let mut paced = Paced::new(vec!["delays".to_owned()]);
        let start = Instant::now();
        paced.add("delays", 1, 1, &[batch(vec![10], vec![1])], start);
        assert_eq!(paced.due(), Some(start));
        assert_eq!(paced.take_due(start).count(), 1);
        assert_eq!(paced.due(), None);

        let soon = start + Duration::from_millis(10);
        paced.add("delays", 2, 1, &[batch(vec![10, 20], vec![-1, 1])], soon);
        paced.add("delays", 3, 2, &[batch(vec![5], vec![1])], soon);
        assert_eq!(paced.take_due(soon).count(), 0);
        assert_eq!(paced.due(), Some(start + INTERVAL));
        let told: Vec<_> = paced.take_due(start + INTERVAL).collect();
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(
            text,
            r#"[{"view":"delays","epoch":3,"total":2,"changes":[{"weight":-1,"row":[10]},{"weight":1,"row":[20]},{"weight":1,"row":[5]}],"truncated":false}]"#
        );
    }

    #[test]
    fn many_changes_are_truncated_and_other_relations_left_out() {
        let mut paced = Paced::new(vec!["delays".to_owned()]);
        let now = Instant::now();
        paced.add("flights", 1, 0, &[batch(vec![1], vec![1])], now);
        assert_eq!(paced.due(), None);
        let rows = i64::try_from(CHANGES_MAX).unwrap() - 1;
        paced.add("delays", 1, 9, &[batch((0..rows).collect(), vec![1; CHANGES_MAX - 1])], now);
        paced.add("delays", 2, 9, &[batch(vec![1, 2], vec![1, 1])], now);
        let told: Vec<_> = paced.take_due(now).collect();
        assert_eq!(told[0].changes.len(), CHANGES_MAX);
        assert!(told[0].truncated);
    }
}
