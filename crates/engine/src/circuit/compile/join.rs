//! Joins.

use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Join as JoinPlan, LogicalPlan};
use syncline_change::Result;

use super::super::detail::one;
use super::{Compiler, Reason, arrow_schema};
use crate::batch::failed;
use crate::circuit::bounds::{Key, Known, Sides};
use crate::circuit::node::Keeps;
use crate::operators::{Arrangement, Condition, Join, JoinKind, JoinSpec, Which};
use crate::state::Term;

impl Compiler {
    pub(super) fn join(
        &mut self,
        join: &JoinPlan,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        if join.null_aware && (join.filter.is_some() || join.on.len() > 1) {
            return Ok(Err("this correlated NOT IN has no incremental form".to_owned()));
        }
        let (left, right) = (join.left.schema(), join.right.schema());
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (l, r) in &join.on {
            let (l, r) = (self.physical(l, left)?, self.physical(r, right)?);
            let key_type = l.data_type(left.as_arrow()).map_err(failed)?;
            if key_type != r.data_type(right.as_arrow()).map_err(failed)? {
                return Ok(Err("the two sides of a join's key differ in type".to_owned()));
            }
            left_keys.push((l, key_type.clone()));
            right_keys.push((r, key_type));
        }
        let condition = match &join.filter {
            None => None,
            Some(only) => {
                let both = left.join(right).map_err(failed)?;
                let predicate = self.physical(only, &both)?;
                Some(Condition { predicate, schema: Arc::new(both.as_arrow().clone()) })
            }
        };
        let kind = join_kind(join);
        let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
        let below = [self.compile(&join.left)?, self.compile(&join.right)?];
        let (term, known) = self.known_of_join(kind, below, [&left_keys, &right_keys]);
        let mut inputs = Vec::with_capacity(2);
        for (side, keys) in [left_keys, right_keys].into_iter().enumerate() {
            let keeps_null_keys = nulls_match || kind.shows_unmatched(side);
            let by = Arrangement { keeps_null_keys, ordered: false, ..Arrangement::by(keys) };
            inputs.push(self.arrange(below[side], by)?);
        }
        let detail = join_detail(join);
        let label = join_label(join);
        let schema = arrow_schema(plan);
        let key = match kind {
            // Rows of either side without a match are alike where their keys are NULL.
            JoinKind::Pairs { kept: [true, true] } => None,
            JoinKind::Pairs { .. } => self.joined_key(inputs[0], inputs[1]),
            JoinKind::Rows { of, .. } => self.nodes[inputs[of]].key.clone(),
        };
        let is_inner = kind == JoinKind::Pairs { kept: [false, false] };
        let append_only = is_inner && inputs.iter().all(|&input| self.nodes[input].append_only);
        let counts_matches =
            condition.is_some() && kind != JoinKind::Pairs { kept: [false, false] };
        let spec = JoinSpec {
            name: format!("{label} ({detail})"),
            view: self.view.clone(),
            kind,
            nulls_match,
            condition,
            schema: schema.clone(),
        };
        let node =
            self.operator(label, detail, Box::new(Join::new(spec, &self.memory)), inputs, schema);
        let made = &mut self.nodes[node];
        made.key = key;
        made.append_only = append_only;
        made.known = known;
        made.claims = vec![term.clone(), term.clone()];
        if counts_matches {
            made.keeps = Keeps::Matches;
        }
        if let Some(term) = term {
            made.let_go(vec![term])?;
        }
        Ok(Ok(node))
    }

    /// By which key rows of both sides of a join can be let go, and what is known of its columns.
    fn known_of_join(
        &self,
        kind: JoinKind,
        inputs: [usize; 2],
        keys: [&[Key]; 2],
    ) -> (Option<Term>, Vec<Known>) {
        if matches!(kind, JoinKind::Rows { which: Which::NotIn, .. }) {
            // It looks at all rows of its other side again.
            return (None, vec![]);
        }
        let width = |input: usize| self.nodes[input].schema.fields().len();
        let known = inputs.map(|input| {
            let mut known = self.nodes[input].known.clone();
            known.resize(width(input), Known::Nothing);
            known
        });
        let sides = Sides { keys, known: [&known[0], &known[1]] };
        let known = match kind {
            JoinKind::Pairs { .. } => [sides.output(0), sides.output(1)].concat(),
            JoinKind::Rows { of, .. } => sides.output(of),
        };
        (sides.term(), known)
    }

    /// A row of a join is known by the keys of both its parts.
    fn joined_key(&self, left: usize, right: usize) -> Option<Vec<usize>> {
        let offset = self.nodes[left].schema.fields().len();
        let right = self.nodes[right].key.as_ref()?.iter().map(|column| column + offset);
        Some(self.nodes[left].key.as_ref()?.iter().copied().chain(right).collect())
    }
}

fn join_kind(join: &JoinPlan) -> JoinKind {
    let pairs = |left, right| JoinKind::Pairs { kept: [left, right] };
    let rows = |of, which| JoinKind::Rows { of, which };
    match join.join_type {
        JoinType::Inner => pairs(false, false),
        JoinType::Left => pairs(true, false),
        JoinType::Right => pairs(false, true),
        JoinType::Full => pairs(true, true),
        JoinType::LeftSemi => rows(0, Which::Matched),
        JoinType::RightSemi => rows(1, Which::Matched),
        JoinType::LeftAnti if join.null_aware => rows(0, Which::NotIn),
        JoinType::LeftAnti => rows(0, Which::Unmatched),
        JoinType::RightAnti => rows(1, Which::Unmatched),
        JoinType::LeftMark => rows(0, Which::Marked),
        JoinType::RightMark => rows(1, Which::Marked),
    }
}

fn join_label(join: &JoinPlan) -> &'static str {
    match join.join_type {
        JoinType::Inner => "join",
        JoinType::Left | JoinType::Right | JoinType::Full => "outer join",
        JoinType::LeftSemi | JoinType::RightSemi => "semi join",
        JoinType::LeftAnti | JoinType::RightAnti => "anti join",
        JoinType::LeftMark | JoinType::RightMark => "mark join",
    }
}

fn join_detail(join: &JoinPlan) -> String {
    let on = join.on.iter().map(|(l, r)| format!("{} = {}", one(l), one(r)));
    let all: Vec<String> = on.chain(join.filter.iter().map(one)).collect();
    if all.is_empty() { "every row with every other".to_owned() } else { all.join(" AND ") }
}
