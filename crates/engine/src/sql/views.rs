//! All views of a pipeline, planned in the order in which they depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::recorded::{Recorded, Views, trace};
use super::{Session, SqlError, distinct_on, panes};
use crate::content::Order;
use crate::functions::random;
use crate::table::{Emit, TableDef, ViewDef};

/// A view whose SQL has been understood.
#[derive(Clone, Debug)]
pub(crate) struct PlannedView {
    pub(crate) def: ViewDef,
    /// As written, ties broken: what the batch engine computes.
    pub(crate) plan: LogicalPlan,
    /// After the optimiser: what the circuit is compiled from.
    pub(crate) optimized: LogicalPlan,
    pub(crate) schema: SchemaRef,
    pub(crate) order: Order,
    /// The number of the `window_end` column, for `emit: final`.
    pub(crate) window_end: Option<usize>,
    /// What of it does not follow from its rows alone.
    pub(crate) recorded: Recorded,
    /// BLAKE3 of the plan: the same for the same meaning in this version.
    pub(crate) fingerprint: String,
    /// The tables and views that its SQL names.
    pub(crate) reads: BTreeSet<String>,
}

/// Plans every view, those that are read by others first. All that are wrong are reported.
pub(crate) fn plan_views(
    session: &Session,
    tables: &[TableDef],
    views: &[ViewDef],
) -> Result<Vec<PlannedView>, Vec<SqlError>> {
    let mut errors = Vec::new();
    for table in tables {
        if let Err(error) = session.register(&table.name, table.schema.clone()) {
            errors.push(SqlError::from_datafusion(&table.name, &error));
        }
    }
    let names: BTreeSet<&str> = tables
        .iter()
        .map(|t| t.name.as_str())
        .chain(views.iter().map(|v| v.name.as_str()))
        .collect();
    let mut waiting: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (i, view) in views.iter().enumerate() {
        match session.relations(&view.name, &view.sql) {
            Ok(reads) => {
                let unknown: Vec<&String> =
                    reads.iter().filter(|name| !names.contains(name.as_str())).collect();
                match unknown.first() {
                    Some(name) => errors.push(unknown_relation(view, name, &names)),
                    None => {
                        waiting.insert(i, reads);
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let mut known: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
    let mut planned = Vec::new();
    let mut recorded = Views::new();
    while let Some(next) =
        waiting.iter().find(|(_, reads)| reads.is_subset(&known)).map(|(&next, _)| next)
    {
        let reads = waiting.remove(&next).unwrap_or_default();
        let view = &views[next];
        match plan_view(session, view, reads, &recorded) {
            Ok(done) => {
                recorded.insert(view.name.clone(), done.recorded.clone());
                known.insert(view.name.clone());
                planned.push(done);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        // What waits still waits for itself, by way of others or not.
        errors.extend(waiting.keys().map(|&i| {
            SqlError::new(&views[i].name, "this view reads itself, directly or by way of others")
                .hint("views may read each other only in one direction")
        }));
    }
    if errors.is_empty() { Ok(planned) } else { Err(errors) }
}

fn unknown_relation(view: &ViewDef, name: &str, names: &BTreeSet<&str>) -> SqlError {
    let nearest = names
        .iter()
        .map(|have| (strsim::jaro_winkler(have, name), *have))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.7);
    let error = SqlError::new(&view.name, format!("there is no source or view `{name}`"));
    match nearest {
        Some((_, nearest)) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint(format!(
            "there are: {}",
            names.iter().copied().filter(|n| *n != view.name).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn plan_view(
    session: &Session,
    view: &ViewDef,
    reads: BTreeSet<String>,
    views: &Views,
) -> Result<PlannedView, SqlError> {
    let plan = session.plan(&view.name, &view.sql)?;
    let wrong = |error| SqlError::from_datafusion(&view.name, &error);
    let written = panes::share(plan.clone()).and_then(distinct_on::as_first_rows).map_err(wrong)?;
    let optimized = session.optimize(&view.name, &written)?;
    let schema = shown(&plan, &optimized);
    let mut seen = BTreeSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
        let error = SqlError::new(&view.name, format!("two columns are called `{}`", twice.name()));
        return Err(error.hint("give one of them another name with AS"));
    }
    let window_end = match view.emit {
        Emit::Changes => None,
        Emit::Final => Some(window_end(view, &schema)?),
    };
    session.register(&view.name, schema.clone()).map_err(wrong)?;
    let mut recorded = trace(&plan, views).map_err(wrong)?;
    // When a window closes depends on the order in which rows came, which the journal has.
    recorded.rows |= view.emit == Emit::Final;
    let mut described = format!("{:?}\n{}", view.emit, optimized.display_indent_schema());
    if random::is_random(&plan).map_err(wrong)? {
        // What keys the values is not in the plan's text.
        let _ = write!(described, "\n{} {}", session.seed, view.name);
    }
    Ok(PlannedView {
        order: order_of(&plan),
        fingerprint: blake3::hash(described.as_bytes()).to_hex().to_string(),
        def: view.clone(),
        plan,
        optimized,
        schema,
        window_end,
        recorded,
        reads,
    })
}

/// The columns of `plan` as it was written, with the types that they have once it is optimised: only
/// then are those of the parts of a UNION or a CASE made one.
pub(crate) fn shown(plan: &LogicalPlan, optimized: &LogicalPlan) -> SchemaRef {
    let types = optimized.schema().fields().iter().map(|field| field.data_type().clone());
    let fields = plan.schema().fields().iter().zip(types);
    let fields = fields.map(|(field, of)| field.as_ref().clone().with_data_type(of));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn window_end(view: &ViewDef, schema: &SchemaRef) -> Result<usize, SqlError> {
    let found = schema.index_of("window_end").ok();
    let is_time = |i: &usize| matches!(schema.field(*i).data_type(), DataType::Timestamp(_, _));
    found.filter(is_time).ok_or_else(|| {
        SqlError::new(&view.name, "`emit: final` needs to know when a row's window ends")
            .hint("read from tumble, hop or session and keep `window_end` among the columns")
    })
}

/// The columns of `plan` that its rows are ordered by, as far as they are still there.
fn order_of(plan: &LogicalPlan) -> Order {
    match plan {
        LogicalPlan::Sort(sort) => {
            let position = |expr: &Expr| match expr {
                Expr::Column(column) => sort.input.schema().index_of_column(column).ok(),
                _ => None,
            };
            let terms = sort.expr.iter().map(|term| {
                let options = SortOptions { descending: !term.asc, nulls_first: term.nulls_first };
                position(&term.expr).map(|column| (column, options))
            });
            terms.map_while(|term| term).collect()
        }
        LogicalPlan::Limit(limit) => order_of(&limit.input),
        LogicalPlan::SubqueryAlias(alias) => order_of(&alias.input),
        LogicalPlan::Projection(projection) => {
            let input = projection.input.schema();
            let position = |wanted: usize| {
                projection.expr.iter().position(|expr| match expr.clone().unalias() {
                    Expr::Column(column) => input.index_of_column(&column).ok() == Some(wanted),
                    _ => false,
                })
            };
            let inner = order_of(&projection.input).into_iter();
            inner.map_while(|(column, options)| Some((position(column)?, options))).collect()
        }
        _ => vec![],
    }
}
