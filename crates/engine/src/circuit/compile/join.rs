//! Joins.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join as JoinPlan, LogicalPlan, Operator};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::super::detail::one;
use super::temporal::comparisons;
use super::{Compiler, Reason, arrow_schema};
use crate::batch::failed;
use crate::circuit::bounds::{self, Key, Known, Sides};
use crate::circuit::node::Keeps;
use crate::operators::{
    Arrangement, Condition, Join, JoinKind, JoinSpec, Limit, Range, SortTerm, Which,
};
use crate::state::{Floor, Release, Term, Timed};

/// A condition of a join: a time of a side is not before one of the other.
struct Order {
    /// The side of `later`; `earlier` is over the other one.
    side: usize,
    later: Arc<dyn PhysicalExpr>,
    earlier: Arc<dyn PhysicalExpr>,
    /// Whether they must differ.
    strict: bool,
    data_type: DataType,
}

impl Order {
    /// What `later` has at least in rows that a later change of either side is, or meets.
    fn floor(&self, known: [&[Known]; 2]) -> Option<Floor> {
        let (own, other) = (known[self.side], known[1 - self.side]);
        bounds::of_order((&self.later, own), (&self.earlier, other), &self.data_type)
    }

    fn term(&self) -> SortTerm {
        let options = SortOptions { descending: false, nulls_first: false };
        SortTerm { expr: self.later.clone(), data_type: self.data_type.clone(), options }
    }

    /// What this and another one of `orders` ask of `later`.
    fn range(&self, orders: &[Self]) -> Range {
        let until = orders.iter().find(|other| {
            other.side != self.side
                && other.data_type == self.data_type
                && other.earlier.as_ref() == self.later.as_ref()
        });
        Range {
            from: Limit { expr: self.earlier.clone(), strict: self.strict },
            until: until.map(|of| Limit { expr: of.later.clone(), strict: of.strict }),
        }
    }
}

/// What is known of the state of a join's sides.
struct Released {
    /// What of each side can be let go.
    terms: [Option<Term>; 2],
    /// Of sides whose rows go by a time, their order, and between which times their matches are.
    ordered: [Option<(SortTerm, Range)>; 2],
    /// What is known of the columns of the output.
    known: Vec<Known>,
}

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
        let keys = [left_keys, right_keys];
        let orders = self.orders(join)?;
        let Released { terms, ordered, known } =
            self.released(kind, below, keys.each_ref().map(Vec::as_slice), &orders);
        let keeps_null_keys = [0, 1].map(|side| nulls_match || kind.shows_unmatched(side));
        let inputs = self.arrange_sides(below, keys, keeps_null_keys, &ordered)?;
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
            ranges: ordered.map(|ordered| ordered.map(|(_, range)| range)),
            schema: schema.clone(),
        };
        let mut releases = [None, None];
        for (release, term) in releases.iter_mut().zip(&terms) {
            *release = term.clone().map_or(Ok(None), |term| Release::new(vec![term]))?;
        }
        let work = Box::new(Join::new(spec, releases, &self.memory));
        let node = self.operator(label, detail, work, inputs, schema);
        let made = &mut self.nodes[node];
        made.key = key;
        made.append_only = append_only;
        made.known = known;
        if counts_matches {
            made.keeps = Keeps::Matches;
            let counted = [0, 1].into_iter().filter(|&side| kind.shows_rows_of(side));
            let counted: Vec<_> = counted.map(|side| terms[side].as_ref()).collect();
            if counted.iter().all(Option::is_some) {
                let floors = counted.into_iter().flatten().flat_map(|term| term.floor.tables());
                made.released_by = floors.collect();
            }
        }
        made.claims = terms.to_vec();
        Ok(Ok(node))
    }

    /// The nodes that keep the rows of both sides by the join's key.
    fn arrange_sides(
        &mut self,
        below: [usize; 2],
        keys: [Vec<Key>; 2],
        keeps_null_keys: [bool; 2],
        ordered: &[Option<(SortTerm, Range)>; 2],
    ) -> Result<Vec<usize>> {
        let mut inputs = Vec::with_capacity(2);
        for (side, keys) in keys.into_iter().enumerate() {
            let order = ordered[side].as_ref().map(|(order, _)| order.clone());
            // What the other side asks of its rows.
            let computed = ordered[1 - side].iter().flat_map(|(_, range)| range.computed());
            let by = Arrangement {
                keeps_null_keys: keeps_null_keys[side],
                ordered: order.is_some(),
                order: order.into_iter().collect(),
                computed: computed.collect(),
                ..Arrangement::by(keys)
            };
            inputs.push(self.arrange(below[side], by)?);
        }
        Ok(inputs)
    }

    /// The conditions of a join that a time of one side is not before one of the other.
    fn orders(&self, join: &JoinPlan) -> Result<Vec<Order>> {
        let mut orders = Vec::new();
        let schemas: [&DFSchema; 2] = [join.left.schema(), join.right.schema()];
        let conditions = join.filter.iter().flat_map(split_conjunction);
        for (left, operator, right) in conditions.flat_map(comparisons) {
            let (earlier, later, strict) = match operator {
                Operator::LtEq => (left, right, false),
                Operator::Lt => (left, right, true),
                Operator::GtEq => (right, left, false),
                Operator::Gt => (right, left, true),
                _ => continue,
            };
            let sides = (side_of(earlier, schemas)?, side_of(later, schemas)?);
            let (Some(of), Some(side)) = sides else { continue };
            if of == side {
                continue;
            }
            let earlier = self.physical(earlier, schemas[of])?;
            let later = self.physical(later, schemas[side])?;
            let data_type = later.data_type(schemas[side].as_arrow()).map_err(failed)?;
            let is_alike = earlier.data_type(schemas[of].as_arrow()).map_err(failed)? == data_type;
            if is_alike && matches!(data_type, DataType::Timestamp(_, _)) {
                orders.push(Order { side, later, earlier, strict, data_type });
            }
        }
        Ok(orders)
    }

    /// What of a join's sides can be let go: groups, by a time in their keys, or else rows, by a time
    /// that the condition compares.
    fn released(
        &self,
        kind: JoinKind,
        inputs: [usize; 2],
        keys: [&[Key]; 2],
        orders: &[Order],
    ) -> Released {
        let mut released = Released { terms: [None, None], ordered: [None, None], known: vec![] };
        if matches!(kind, JoinKind::Rows { which: Which::NotIn, .. }) {
            // It looks at all rows of its other side again.
            return released;
        }
        let width = |input: usize| self.nodes[input].schema.fields().len();
        let known = inputs.map(|input| {
            let mut known = self.nodes[input].known.clone();
            known.resize(width(input), Known::Nothing);
            known
        });
        let sides = Sides { keys, known: [&known[0], &known[1]] };
        let mut output = [sides.output(0), sides.output(1)];
        if let Some(term) = sides.term() {
            released.terms = [Some(term.clone()), Some(term)];
        } else {
            for order in orders {
                let side = order.side;
                let floor = order.floor([&known[0], &known[1]]);
                let Some(floor) = floor.filter(|_| released.terms[side].is_none()) else {
                    continue;
                };
                if let Some(column) = order.later.downcast_ref::<Column>() {
                    output[side][column.index()] = Known::Timed(floor.clone());
                }
                let data_type = order.data_type.clone();
                released.terms[side] = Some(Term { floor, of: Timed::Rows, data_type });
                released.ordered[side] = Some((order.term(), order.range(orders)));
            }
        }
        released.known = match kind {
            JoinKind::Pairs { .. } => output.concat(),
            JoinKind::Rows { of, .. } => std::mem::take(&mut output[of]),
        };
        released
    }

    /// A row of a join is known by the keys of both its parts.
    fn joined_key(&self, left: usize, right: usize) -> Option<Vec<usize>> {
        let offset = self.nodes[left].schema.fields().len();
        let right = self.nodes[right].key.as_ref()?.iter().map(|column| column + offset);
        Some(self.nodes[left].key.as_ref()?.iter().copied().chain(right).collect())
    }
}

/// The side of a join that all columns of an expression are of, if it has any.
fn side_of(expr: &Expr, schemas: [&DFSchema; 2]) -> Result<Option<usize>> {
    for (side, schema) in schemas.into_iter().enumerate() {
        let is_other =
            |part: &Expr| Ok(matches!(part, Expr::Column(column) if !schema.has_column(column)));
        if expr.any_column_refs() && !expr.exists(is_other).map_err(failed)? {
            return Ok(Some(side));
        }
    }
    Ok(None)
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
