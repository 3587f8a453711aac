//! The tables of a script: what they hold, and every change that made them so.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::sqlparser::ast::{
    AssignmentTarget, ColumnOption, CreateTable, CreateView, Delete, FromTable, Ident, Insert,
    ObjectName, ObjectType, Statement, TableFactor, TableObject, TableWithJoins, Update,
};
use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
use datafusion::logical_expr::sqlparser::parser::Parser;
use syncline_change::row::canonical;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Scripts may contain it, but it is not modelled here.
    Unsupported(String),
    /// The SQL is wrong, or fails.
    Error(String),
}

pub(super) type Tried<T> = Result<T, Trouble>;

fn unsupported<T>(what: impl Into<String>) -> Tried<T> {
    Err(Trouble::Unsupported(what.into()))
}

fn error(error: impl ToString) -> Trouble {
    Trouble::Error(error.to_string())
}

/// Rows that came (`weight` +1) or went (-1) together.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) table: String,
    pub(super) rows: RecordBatch,
    pub(super) weight: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) rows: RecordBatch,
}

#[derive(Default)]
pub(super) struct Database {
    pub(super) tables: Vec<Table>,
    /// Views by name, with their SQL.
    pub(super) views: Vec<(String, String)>,
    /// Every change of the tables that are there.
    pub(super) history: Vec<Change>,
    /// Tables whose content is not known, because a statement about them was not modelled.
    pub(super) lost: BTreeSet<String>,
}

impl Database {
    /// Does what `sql` says.
    pub(super) fn execute(&mut self, sql: &str) -> Tried<()> {
        let statements = Parser::parse_sql(&GenericDialect {}, sql)
            .map_err(|e| Trouble::Unsupported(format!("statement not understood: {e}")))?;
        for statement in statements {
            match statement {
                Statement::CreateTable(create) => self.create_table(&create)?,
                Statement::CreateView(create) => self.create_view(&create)?,
                Statement::Insert(insert) => self.insert(&insert)?,
                Statement::Delete(delete) => self.delete(&delete)?,
                Statement::Update(update) => self.update(&update)?,
                Statement::Drop { object_type, if_exists, names, .. } => {
                    self.drop_all(object_type, if_exists, &names)?;
                }
                Statement::Query(query) => self.query(&query.to_string()).map(drop)?,
                other => {
                    self.lose_mentioned(sql);
                    let text = other.to_string();
                    let words: Vec<&str> = text.split_whitespace().take(2).collect();
                    return unsupported(format!("statement not modelled: {}", words.join(" ")));
                }
            }
        }
        Ok(())
    }

    /// After a statement that is not modelled, but changes rows: its tables have unknown content.
    pub(super) fn lose_mentioned(&mut self, sql: &str) {
        let changes = ["copy", "merge", "truncate", "alter", "load", "insert", "replace"];
        let first = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
        if changes.contains(&first.as_str()) {
            let named = self.tables.iter().filter(|table| mentions(sql, &table.name));
            self.lost.extend(named.map(|table| table.name.clone()));
        }
    }

    /// The batch result of a SELECT.
    pub(super) fn query(&self, sql: &str) -> Tried<(SchemaRef, Vec<RecordBatch>)> {
        if let Some(lost) = self.lost.iter().find(|name| mentions(sql, name)) {
            return unsupported(format!("reads `{lost}`, whose content is not known"));
        }
        let mut contents = Vec::new();
        for table in &self.tables {
            contents.push(((table.name.clone(), vec![table.rows.clone()]), table.rows.schema()));
        }
        for (name, of) in &self.views {
            if !self.views_of(sql).iter().any(|view| view.0 == *name) {
                continue;
            }
            let (schema, rows) = syncline_engine::query(of, &contents, 0, 0).map_err(failed)?;
            contents.push(((name.clone(), rows), schema));
        }
        syncline_engine::query(sql, &contents, 0, 0).map_err(failed)
    }

    /// The views that `sql` may read, those that others read first.
    pub(super) fn views_of(&self, sql: &str) -> Vec<&(String, String)> {
        let mut needed: Vec<&(String, String)> = Vec::new();
        for view in self.views.iter().rev() {
            let by_others = needed.iter().any(|other| mentions(&other.1, &view.0));
            if by_others || mentions(sql, &view.0) {
                needed.push(view);
            }
        }
        needed.reverse();
        needed
    }

    fn find(&mut self, name: &str) -> Tried<&mut Table> {
        if self.lost.contains(name) {
            return unsupported(format!("`{name}` has a content that is not known"));
        }
        let found = self.tables.iter_mut().find(|table| table.name == name);
        found.ok_or_else(|| error(format!("there is no table `{name}`")))
    }

    fn create_table(&mut self, create: &CreateTable) -> Tried<()> {
        let name = plain(&create.name)?;
        if self.tables.iter().any(|table| table.name == name) {
            match (create.if_not_exists, create.or_replace) {
                (true, _) => return Ok(()),
                (false, true) => self.remove(&name),
                (false, false) => return Err(error(format!("table `{name}` exists already"))),
            }
        }
        self.lost.insert(name.clone());
        if create.external {
            return unsupported("external tables");
        }
        let (schema, rows) = match (&create.query, create.columns.is_empty()) {
            (Some(query), true) => self.query(&query.to_string())?,
            (None, false) => (self.declared(create)?, vec![]),
            _ => return unsupported("CREATE TABLE with columns and a query, or with neither"),
        };
        // Columns of a table have names alone.
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let empty = RecordBatch::new_empty(schema.clone());
        self.tables.push(Table { name: name.clone(), rows: empty });
        self.lost.remove(&name);
        let rows = rows.iter().map(|rows| fitted(rows, &schema)).collect::<Tried<Vec<_>>>()?;
        self.change(&name, &rows, 1)
    }

    /// The schema of a table that is created column by column.
    fn declared(&self, create: &CreateTable) -> Tried<SchemaRef> {
        let mut nulls = Vec::new();
        for column in &create.columns {
            let name = identifier(&column.name).replace('"', "\"\"");
            nulls.push(format!("CAST(NULL AS {}) AS \"{name}\"", column.data_type));
        }
        let (schema, _) = self
            .query(&format!("SELECT {}", nulls.join(", ")))
            .map_err(|trouble| Trouble::Unsupported(format!("column types: {trouble:?}")))?;
        let fields = schema.fields().iter().zip(&create.columns).map(|(field, column)| {
            let not_null = column.options.iter().any(|option| {
                matches!(option.option, ColumnOption::NotNull | ColumnOption::PrimaryKey(_))
            });
            Field::new(field.name(), field.data_type().clone(), !not_null)
        });
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn create_view(&mut self, create: &CreateView) -> Tried<()> {
        let name = plain(&create.name)?;
        self.lost.insert(name.clone());
        if !create.columns.is_empty() {
            return unsupported("CREATE VIEW with names of columns");
        }
        let sql = create.query.to_string();
        self.query(&sql)?;
        self.views.retain(|(have, _)| *have != name);
        self.views.push((name.clone(), sql));
        self.lost.remove(&name);
        Ok(())
    }

    fn insert(&mut self, insert: &Insert) -> Tried<()> {
        let TableObject::TableName(name) = &insert.table else {
            return unsupported("INSERT into a function");
        };
        let name = plain(name)?;
        let Some(source) = &insert.source else { return unsupported("INSERT without rows") };
        if insert.on.is_some() || insert.or.is_some() || insert.replace_into {
            self.lost.insert(name);
            return unsupported("INSERT with a rule for conflicts");
        }
        let schema = self.find(&name)?.rows.schema();
        let columns = match insert.columns.is_empty() {
            true => (0..schema.fields().len()).collect(),
            false => insert
                .columns
                .iter()
                .map(|column| schema.index_of(&plain(column)?).map_err(error))
                .collect::<Tried<Vec<usize>>>()?,
        };
        let (_, given) = self.query(&source.to_string())?;
        let mut rows = Vec::new();
        for given in given {
            if given.num_columns() != columns.len() {
                return Err(error("INSERT has another number of columns than the table"));
            }
            let column = |wanted: usize| match columns.iter().position(|&c| c == wanted) {
                Some(place) => given.column(place).clone(),
                None => new_null_array(schema.field(wanted).data_type(), given.num_rows()),
            };
            let all: Vec<_> = (0..schema.fields().len()).map(column).collect();
            let names = schema.fields().iter().zip(&all);
            let names = names.map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true));
            let loose = Arc::new(Schema::new(names.collect::<Vec<_>>()));
            rows.push(fitted(&RecordBatch::try_new(loose, all).map_err(error)?, &schema)?);
        }
        self.change(&name, &rows, 1)
    }

    fn delete(&mut self, delete: &Delete) -> Tried<()> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [table] = from.as_slice() else { return unsupported("DELETE from several tables") };
        let name = table_name(table)?;
        if delete.using.is_some() || delete.limit.is_some() {
            self.lost.insert(name);
            return unsupported("DELETE with USING or LIMIT");
        }
        self.find(&name)?;
        let condition = delete.selection.as_ref().map_or(String::new(), |s| format!(" WHERE {s}"));
        let (_, rows) = self.query(&format!("SELECT * FROM {}{condition}", quoted(&name)))?;
        self.change(&name, &rows, -1)
    }

    fn update(&mut self, update: &Update) -> Tried<()> {
        let name = table_name(&update.table)?;
        if update.from.is_some() || update.limit.is_some() {
            self.lost.insert(name);
            return unsupported("UPDATE with FROM or LIMIT");
        }
        let schema = self.find(&name)?.rows.schema();
        let mut values: Vec<String> =
            schema.fields().iter().map(|field| quoted(field.name())).collect();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(column) = &assignment.target else {
                return unsupported("UPDATE of several columns at once");
            };
            let column = schema.index_of(&plain(column)?).map_err(error)?;
            values[column] = assignment.value.to_string();
        }
        let from = quoted(&name);
        let condition = update.selection.as_ref().map_or(String::new(), |s| format!(" WHERE {s}"));
        let (_, old) = self.query(&format!("SELECT * FROM {from}{condition}"))?;
        let values = values.iter().enumerate().map(|(i, value)| format!("{value} AS c{i}"));
        let values = values.collect::<Vec<_>>().join(", ");
        let (_, new) = self.query(&format!("SELECT {values} FROM {from}{condition}"))?;
        let new = new.iter().map(|rows| fitted(rows, &schema)).collect::<Tried<Vec<_>>>()?;
        self.change(&name, &old, -1)?;
        self.change(&name, &new, 1)
    }

    fn drop_all(&mut self, kind: ObjectType, if_exists: bool, names: &[ObjectName]) -> Tried<()> {
        for name in names {
            let name = plain(name)?;
            let was_lost = self.lost.remove(&name);
            let is_there = match kind {
                ObjectType::Table => self.tables.iter().any(|table| table.name == name),
                ObjectType::View => self.views.iter().any(|(view, _)| *view == name),
                _ => return unsupported("DROP of something else than a table or view"),
            };
            if !is_there && !was_lost && !if_exists {
                return Err(error(format!("there is no `{name}` to drop")));
            }
            match kind {
                ObjectType::Table => self.remove(&name),
                _ => self.views.retain(|(view, _)| *view != name),
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.tables.retain(|table| table.name != name);
        self.history.retain(|change| change.table != name);
    }

    /// Adds rows to a table, or takes them away.
    fn change(&mut self, name: &str, rows: &[RecordBatch], weight: i64) -> Tried<()> {
        let table = self.find(name)?;
        let schema = table.rows.schema();
        let rows: Vec<RecordBatch> =
            rows.iter().map(|rows| fitted(rows, &schema)).collect::<Tried<_>>()?;
        let rows = concat_batches(&schema, &rows).map_err(error)?;
        let rows = canonical(rows).map_err(error)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let content = syncline_engine::Content::new(schema.clone(), vec![]);
        let mut content = content.map_err(|e| Trouble::Unsupported(e.to_string()))?;
        let have = syncline_change::Batch::inserts(table.rows.clone());
        content.apply(&have).map_err(error)?;
        let weights = arrow::array::Int64Array::from(vec![weight; rows.num_rows()]);
        let change = syncline_change::Batch::new(rows.clone(), weights).map_err(error)?;
        content.apply(&change).map_err(error)?;
        table.rows = content.all().map_err(error)?;
        self.history.push(Change { table: name.to_owned(), rows, weight });
        Ok(())
    }
}

/// `rows` with the types of `schema`, column by column.
fn fitted(rows: &RecordBatch, schema: &SchemaRef) -> Tried<RecordBatch> {
    let options = CastOptions { safe: false, ..Default::default() };
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        cast_with_options(column, field.data_type(), &options).map_err(error)
    });
    let columns = columns.collect::<Tried<Vec<_>>>()?;
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &count).map_err(error)
}

fn failed(error: syncline_change::Error) -> Trouble {
    let detail = error.detail_text().unwrap_or_default();
    Trouble::Error(format!("{}: {detail}", error.message()))
}

/// Whether a name stands in `sql` as a word of its own, in whatever case.
fn mentions(sql: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    sql.to_lowercase().split(|c| !is_part(c)).any(|word| word == name.to_lowercase())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn identifier(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A name that has no schema before it.
fn plain(name: &ObjectName) -> Tried<String> {
    let [part] = name.0.as_slice() else { return unsupported("names with a schema") };
    part.as_ident().map_or_else(|| unsupported("a computed name"), |ident| Ok(identifier(ident)))
}

fn table_name(table: &TableWithJoins) -> Tried<String> {
    match &table.relation {
        TableFactor::Table { name, .. } if table.joins.is_empty() => plain(name),
        _ => unsupported("a change of something else than a table"),
    }
}
