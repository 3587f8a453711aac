//! What sources and views mean, in a form that outlives an edit of the pipeline file; and circuits
//! for what they meant before one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use syncline_change::{Batch, Error, Result, types};
use syncline_engine::{
    Circuit, Emit, EventTime, Options, StepOutput, TableDef, TableInput, ViewDef, ViewInfo,
};
use syncline_store::journal::EpochInput;
use syncline_store::meanings::{EventTimeMeaning, Meaning, SourceMeaning, ViewMeaning};

use crate::clock;
use crate::lock::SEMANTICS_VERSION;
use crate::past::check_columns;
use crate::prepare::{Prepared, Relation};

/// The meaning of every source and view of a pipeline.
pub(crate) struct Meanings {
    by_name: BTreeMap<String, Meaning>,
}

impl Meanings {
    /// Those of the pipeline that `circuit` was made for.
    ///
    /// # Errors
    /// `Bug` if a view reads what is not there.
    pub(crate) fn of(prepared: &Prepared, circuit: &Circuit) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        for table in &prepared.tables {
            let source = source_meaning(table);
            let meaning = Meaning {
                hash: hash(&source)?,
                semantics: SEMANTICS_VERSION,
                seed: prepared.lock.seed,
                relation: table.name.clone(),
                sources: vec![source],
                views: vec![],
            };
            by_name.insert(table.name.clone(), meaning);
        }
        let mut waiting: Vec<_> = circuit.views().iter().collect();
        while !waiting.is_empty() {
            let (ready, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|view| view.reads.iter().all(|name| by_name.contains_key(name)));
            for view in &ready {
                let def = prepared.views.iter().find(|def| def.name == view.name);
                let def = def.ok_or_else(|| Error::bug("a view has no definition"))?;
                let meaning = view_meaning(def, view, prepared.lock.seed, &by_name)?;
                by_name.insert(view.name.clone(), meaning);
            }
            if ready.is_empty() {
                return Err(Error::bug("a view reads what is not there"));
            }
            waiting = rest;
        }
        Ok(Self { by_name })
    }

    /// # Errors
    /// `Bug` if there is no such source or view.
    pub(crate) fn get(&self, relation: &str) -> Result<&Meaning> {
        let meaning = self.by_name.get(relation);
        meaning.ok_or_else(|| Error::bug(format!("`{relation}` is not there")))
    }
}

fn view_meaning(
    def: &ViewDef,
    info: &ViewInfo,
    seed: u64,
    known: &BTreeMap<String, Meaning>,
) -> Result<Meaning> {
    let (mut sources, mut views, mut hashes) = (BTreeMap::new(), Vec::new(), Vec::new());
    for read in info.reads.iter().filter_map(|name| known.get(name)) {
        sources.extend(read.sources.iter().map(|source| (source.name.clone(), source.clone())));
        views.extend(read.views.clone());
        hashes.push((&read.relation, &read.hash));
    }
    views.push(ViewMeaning {
        name: def.name.clone(),
        sql: def.sql.clone(),
        emits_final: def.emit == Emit::Final,
    });
    // Two of those that it reads may read the same.
    let mut seen = BTreeSet::new();
    views.retain(|view| seen.insert(view.name.clone()));
    Ok(Meaning {
        hash: hash(&(SEMANTICS_VERSION, &info.fingerprint, hashes))?,
        semantics: SEMANTICS_VERSION,
        seed,
        relation: def.name.clone(),
        sources: sources.into_values().collect(),
        views,
    })
}

fn source_meaning(table: &TableDef) -> SourceMeaning {
    SourceMeaning {
        name: table.name.clone(),
        columns: columns(&table.schema),
        primary_key: table.primary_key.clone(),
        event_time: table.event_time.map(|time| EventTimeMeaning {
            column: time.column,
            lateness_us: time.lateness_us,
            idle_us: time.idle_us,
        }),
        deletes: table.deletes,
    }
}

/// Names and SQL types.
pub(crate) fn columns(schema: &Schema) -> Vec<(String, String)> {
    let fields = schema.fields().iter();
    fields.map(|field| (field.name().clone(), types::name(field.data_type()))).collect()
}

fn hash(of: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_vec(of)
        .map_err(|error| Error::bug("a meaning has no JSON form").source(error))?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

/// A circuit for what a source or view meant, to be led along the journal.
pub(crate) struct Meant {
    circuit: Circuit,
    tables: Vec<TableDef>,
    relation: Relation,
}

impl Meant {
    /// # Errors
    /// `Conflict` if this version cannot compute what `meaning` says.
    pub(crate) fn new(
        meaning: &Meaning,
        prepared: &Prepared,
        pool: Option<Arc<rayon::ThreadPool>>,
    ) -> Result<Self> {
        if meaning.semantics != SEMANTICS_VERSION && !meaning.views.is_empty() {
            return Err(Error::conflict("another version of Syncline gave it its meaning").detail(
                format!("semantics {}, this version has {SEMANTICS_VERSION}", meaning.semantics),
            ));
        }
        let tables = meaning.sources.iter().map(|source| table_def(source, prepared));
        let tables: Vec<TableDef> = tables.collect::<Result<_>>()?;
        let views = meaning.views.iter().map(|view| ViewDef {
            name: view.name.clone(),
            sql: view.sql.clone(),
            emit: if view.emits_final { Emit::Final } else { Emit::Changes },
        });
        let views: Vec<ViewDef> = views.collect();
        let options = Options { pool, stopwatch: clock::stopwatch_nanos, seed: meaning.seed };
        let circuit = Circuit::new(tables.clone(), &views, options).map_err(|errors| {
            let said =
                errors.iter().map(|error| format!("view `{}`: {}", error.view, error.message));
            Error::conflict("its SQL of then is not understood any more")
                .detail(said.collect::<Vec<_>>().join("; "))
        })?;
        let name = &meaning.relation;
        let view = circuit.views().iter().position(|view| view.name == *name);
        let table = || tables.iter().position(|table| table.name == *name);
        let relation = view.map(Relation::View).or_else(|| table().map(Relation::Table));
        let relation = relation.ok_or_else(|| {
            Error::corrupt(format!("the meaning of `{name}` does not say what it is"))
        })?;
        Ok(Self { circuit, tables, relation })
    }

    pub(crate) fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// What it is that was meant.
    pub(crate) fn relation(&self) -> Relation {
        self.relation
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        match self.relation {
            Relation::View(view) => &self.circuit.views()[view].schema,
            Relation::Table(table) => &self.tables[table].schema,
        }
    }

    /// Takes in an epoch of the journal.
    ///
    /// # Errors
    /// `Conflict` if the rows of a source cannot be had any more, or have other columns.
    pub(crate) fn step(&mut self, input: &EpochInput) -> Result<StepOutput> {
        let mut inputs = Vec::new();
        for part in &input.inputs {
            let number = self.tables.iter().position(|table| table.name == part.source);
            let Some(table) = number else { continue };
            check_columns(&self.tables[table].schema, part)?;
            if !part.origin.is_empty() && part.rows.iter().all(Batch::is_empty) {
                return Err(Error::conflict(format!(
                    "the rows of source `{}` are not in the journal, which refers to its files",
                    part.source
                ))
                .hint("put the source back into the pipeline file until the next run is over"));
            }
            inputs.push(TableInput { table, rows: part.rows.clone(), finished: part.finished });
        }
        self.circuit.step(input.epoch, input.time_us, inputs)
    }
}

/// The table that a source was.
fn table_def(source: &SourceMeaning, prepared: &Prepared) -> Result<TableDef> {
    let today = prepared.tables.iter().find(|table| table.name == source.name);
    let today = today.filter(|table| columns(&table.schema) == source.columns);
    let schema = match today {
        Some(table) => table.schema.clone(),
        None => {
            let fields = source.columns.iter().map(|(name, of)| {
                let kind = types::parse(of).map_err(|_| {
                    Error::conflict(format!(
                        "column `{name}` of source `{}` was {of}, which cannot be had without it",
                        source.name
                    ))
                })?;
                Ok(Field::new(name, kind, true))
            });
            Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?))
        }
    };
    let in_range = |column: &usize| *column < schema.fields().len();
    let key = source.primary_key.iter().flatten();
    if !key.chain(source.event_time.iter().map(|time| &time.column)).all(in_range) {
        let what =
            format!("the meaning of source `{}` names a column that is not there", source.name);
        return Err(Error::corrupt(what));
    }
    Ok(TableDef {
        name: source.name.clone(),
        schema,
        primary_key: source.primary_key.clone(),
        event_time: source.event_time.as_ref().map(|time| EventTime {
            column: time.column,
            lateness_us: time.lateness_us,
            idle_us: time.idle_us,
        }),
        deletes: source.deletes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;
    use crate::file::Pipeline;
    use crate::vars::Vars;

    const PIPELINE: &str = "
name: shelf
sources:
  stock: {type: http, columns: {shelf: TEXT, n: BIGINT}}
  prices: {type: http, columns: {item: TEXT, price: BIGINT}}
views:
  shelves: SELECT shelf, sum(n) AS n FROM stock GROUP BY shelf
  full: SELECT shelf FROM shelves WHERE n > 4
  cheap: SELECT item FROM prices WHERE price < 3
";

    fn prepared(edits: &[(&str, &str)]) -> Prepared {
        let replaced = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        let text = edits.iter().fold(PIPELINE.to_owned(), replaced);
        let pipeline = Pipeline::parse(&text, std::path::Path::new("nowhere"), &Vars::default());
        Prepared::new(pipeline.unwrap()).unwrap()
    }

    fn meanings(prepared: &Prepared) -> Meanings {
        Meanings::of(prepared, &prepared.circuit(None).unwrap()).unwrap()
    }

    #[test]
    fn a_meaning_changes_with_what_is_read() {
        let before = meanings(&prepared(&[]));
        let changed = |from: &str, to: &str| {
            let after = meanings(&prepared(&[(from, to)]));
            let hash = |meanings: &Meanings, name: &str| meanings.get(name).unwrap().hash.clone();
            let names = ["stock", "shelves", "full", "cheap"];
            names.map(|name| hash(&before, name) != hash(&after, name))
        };
        assert_eq!(changed("SELECT shelf, sum(n)", "SELECT  shelf, sum( n )"), [false; 4]);
        assert_eq!(changed("sum(n)", "count(n)"), [false, true, true, false]);
        assert_eq!(changed("n > 4", "n > 5"), [false, false, true, false]);
        assert_eq!(
            changed("n: BIGINT}", "n: BIGINT}, primary_key: [shelf]"),
            [true, true, true, false]
        );
        let full = before.get("full").unwrap();
        let sources: Vec<&str> = full.sources.iter().map(|source| source.name.as_str()).collect();
        let views: Vec<&str> = full.views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!((sources, views), (vec!["stock"], vec!["shelves", "full"]));
    }

    #[test]
    fn what_was_meant_is_computed_or_it_is_said_what_is_lacking() {
        let old = prepared(&[]);
        let full = meanings(&old).get("full").unwrap().clone();
        // None of what it needs is in the file any more.
        let views = "  shelves: SELECT shelf, sum(n) AS n FROM stock GROUP BY shelf\n  full: SELECT shelf FROM shelves WHERE n > 4\n";
        let new = prepared(&[
            ("  stock: {type: http, columns: {shelf: TEXT, n: BIGINT}}\n", ""),
            (views, ""),
        ]);
        let meant = Meant::new(&full, &new, None).unwrap();
        assert_eq!(columns(meant.schema()), [("shelf".to_owned(), "TEXT".to_owned())]);

        let refused = |meaning: &Meaning| {
            let error = Meant::new(meaning, &new, None).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            error.report()
        };
        let mut unknown = full.clone();
        unknown.views[0].sql = "SELECT shelf, gone(n) AS n FROM stock".to_owned();
        let said = refused(&unknown);
        assert!(said.contains("its SQL of then is not understood any more"), "{said}");
        assert!(said.contains("view `shelves`") && said.contains("gone"), "{said}");
        let said = refused(&Meaning { semantics: SEMANTICS_VERSION - 1, ..full });
        assert!(said.contains("another version of Syncline"), "{said}");
    }
}
