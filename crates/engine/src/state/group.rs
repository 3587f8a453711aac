//! The rows of one key, from all runs that have some of them.

use std::ops::Range;

use smallvec::SmallVec;

use super::Run;

/// The rows of one key in the order of their bytes, each once with the sum of its weights; rows
/// whose weights cancel are not there. Can be read from both ends.
#[derive(Clone, Default)]
pub(crate) struct Group<'a> {
    parts: SmallVec<[Part<'a>; 4]>,
}

#[derive(Clone)]
struct Part<'a> {
    run: &'a Run,
    rows: Range<usize>,
}

impl Part<'_> {
    fn first_not_before(&self, row: &[u8]) -> usize {
        self.run.first_not_before(self.rows.clone(), row)
    }
}

impl<'a> Group<'a> {
    /// Adds what `run` has of this key.
    pub(crate) fn add(&mut self, run: &'a Run, hash: u64, key: &[u8]) {
        if let Some(group) = run.find(hash, key) {
            self.parts.push(Part { run, rows: run.rows_of(group) });
        }
    }

    /// Whether no row is there.
    pub(crate) fn is_empty(&self) -> bool {
        match self.parts.as_slice() {
            [] => true,
            [_] => false,
            _ => self.clone().next().is_none(),
        }
    }

    /// The rows that do not come before `row`.
    pub(crate) fn since(&self, row: &[u8]) -> Self {
        self.cut(row, |rows, at| at..rows.end)
    }

    /// The rows that come before `row`.
    pub(crate) fn until(&self, row: &[u8]) -> Self {
        self.cut(row, |rows, at| rows.start..at)
    }

    fn cut(&self, row: &[u8], keep: impl Fn(&Range<usize>, usize) -> Range<usize>) -> Self {
        let parts = self.parts.iter().map(|part| {
            let at = part.first_not_before(row);
            Part { run: part.run, rows: keep(&part.rows, at) }
        });
        Self { parts: parts.collect() }
    }

    /// How often `row` is there.
    pub(crate) fn weight(&self, row: &[u8]) -> i64 {
        let weights = self.parts.iter().map(|part| {
            let at = part.first_not_before(row);
            let found = at < part.rows.end && part.run.row(at) == row;
            if found { part.run.weight(at) } else { 0 }
        });
        weights.sum()
    }

    /// The one row that all heads named by `head` agree on after taking it from each part.
    fn step(
        &mut self,
        head: impl Fn(&Part<'a>) -> Option<usize>,
        is_before: impl Fn(&[u8], &[u8]) -> bool,
        drop: impl Fn(&mut Part<'a>),
    ) -> Option<(&'a [u8], i64)> {
        loop {
            let heads = self.parts.iter().filter_map(|part| Some(part.run.row(head(part)?)));
            let row: &'a [u8] =
                heads.reduce(|best, row| if is_before(row, best) { row } else { best })?;
            let mut weight = 0;
            for part in &mut self.parts {
                if let Some(at) = head(part)
                    && part.run.row(at) == row
                {
                    weight += part.run.weight(at);
                    drop(part);
                }
            }
            if weight != 0 {
                return Some((row, weight));
            }
        }
    }
}

impl<'a> Iterator for Group<'a> {
    type Item = (&'a [u8], i64);

    fn next(&mut self) -> Option<Self::Item> {
        if let [part] = self.parts.as_mut_slice() {
            let at = part.rows.next()?;
            return Some((part.run.row(at), part.run.weight(at)));
        }
        let head = |part: &Part<'a>| (!part.rows.is_empty()).then_some(part.rows.start);
        self.step(head, |a, b| a < b, |part| part.rows.start += 1)
    }
}

impl DoubleEndedIterator for Group<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let head = |part: &Part<'_>| (!part.rows.is_empty()).then(|| part.rows.end - 1);
        self.step(head, |a, b| a > b, |part| part.rows.end -= 1)
    }
}
