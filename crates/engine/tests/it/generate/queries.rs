//! Random queries: operators over operators over tables, three deep and more.

use super::calls::{Choice, aggregate, order, windows};
use super::expressions::{expression, of_kind, predicate};
use super::tables::{BIGINT, Column, Kind};
use crate::random::Random;

/// A query, or a table or view by its name.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    /// What it is made of: smaller queries, for when it fails.
    pub(super) parts: Vec<Relation>,
}

impl Relation {
    /// A table or view.
    pub(super) fn named(name: &str, columns: &[Column]) -> Self {
        Self { sql: name.to_owned(), columns: columns.to_vec(), parts: vec![] }
    }

    fn is_named(&self) -> bool {
        !self.sql.contains(' ')
    }

    /// As a view's SQL.
    pub(super) fn select(&self) -> String {
        if self.is_named() { format!("SELECT * FROM {}", self.sql) } else { self.sql.clone() }
    }
}

/// What most of a query's operators are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    Rows,
    Joins,
    Groups,
    Orders,
    Anything,
}

#[derive(Clone, Copy)]
enum Step {
    Filter,
    Project,
    Distinct,
    Union,
    Intersect,
    Join,
    Semi,
    Scalar,
    Group,
    GroupingSets,
    Top,
    FirstRows,
    DistinctOn,
    Window,
    TimeWindow,
    With,
    Unnest,
    Asof,
    Recursive,
    Temporal,
}

/// Makes queries over `relations`.
pub(super) struct Queries<'a> {
    pub(super) random: &'a mut Random,
    pub(super) relations: Vec<Relation>,
    pub(super) theme: Theme,
    /// Whether tables are too large for joins without equal keys.
    pub(super) large: bool,
    /// Numbers that make names unique.
    pub(super) number: usize,
}

/// A relation in FROM: its text, and its columns by their full names.
struct Source {
    text: String,
    columns: Vec<Column>,
}

impl Queries<'_> {
    /// A query whose operators stand up to `depth` deep.
    pub(super) fn query(&mut self, depth: usize) -> Relation {
        if depth == 0 {
            return self.random.pick(&self.relations).clone();
        }
        let step = self.random.weighted(&steps(self.theme));
        let below = if self.random.chance(80) { depth - 1 } else { 0 };
        let inner = self.query(below);
        match step {
            Step::Filter => self.filter(inner),
            Step::Project => self.project(inner),
            Step::Distinct => self.distinct(inner),
            Step::Union => self.set(inner, below, &["UNION", "UNION ALL"]),
            Step::Intersect => {
                self.set(inner, below, &["INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"])
            }
            Step::Join => self.join(inner, below),
            Step::Semi => self.semi(inner, below),
            Step::Scalar => self.scalar(inner, below),
            Step::Group => self.group(inner),
            Step::GroupingSets => self.grouping_sets(inner),
            Step::Top => self.top(inner),
            Step::FirstRows => self.first_rows(inner),
            Step::DistinctOn => self.distinct_on(inner),
            Step::Window => self.window(inner),
            Step::TimeWindow => self.time_window(),
            Step::With => self.with(inner),
            Step::Unnest => self.unnest(inner),
            Step::Asof => self.asof(inner),
            Step::Recursive => self.recursive(inner, below),
            Step::Temporal => self.temporal(inner),
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.number += 1;
        format!("{prefix}{}", self.number)
    }

    fn source(&mut self, relation: &Relation) -> Source {
        let alias = self.name("r");
        let text = match relation.is_named() {
            true => format!("{} AS {alias}", relation.sql),
            false => format!("({}) AS {alias}", relation.sql),
        };
        let full = |c: &Column| Column { name: format!("{alias}.{}", c.name), ..c.clone() };
        Source { text, columns: relation.columns.iter().map(full).collect() }
    }

    /// `expressions` with new names, as a SELECT list and as columns.
    fn list(&mut self, expressions: Vec<(String, Kind)>) -> (String, Vec<Column>) {
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for (sql, kind) in expressions {
            let name = self.name("c");
            items.push(format!("{sql} AS {name}"));
            columns.push(Column { name, kind, nullable: true });
        }
        (items.join(", "), columns)
    }

    /// One to `most` expressions over `columns`.
    fn expressions(&mut self, columns: &[Column], most: usize) -> Vec<(String, Kind)> {
        let count = 1 + self.random.below(most);
        let one = |_| {
            let made = expression(self.random, columns, 2);
            (made.sql, made.kind)
        };
        (0..count).map(one).collect()
    }

    fn filter(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let condition = predicate(self.random, &from.columns, 2);
        let sql = format!("SELECT * FROM {} WHERE {condition}", from.text);
        Relation { sql, columns: inner.columns.clone(), parts: vec![inner] }
    }

    fn project(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let expressions = self.expressions(&from.columns, 4);
        let (list, columns) = self.list(expressions);
        Relation { sql: format!("SELECT {list} FROM {}", from.text), columns, parts: vec![inner] }
    }

    fn distinct(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let expressions = self.expressions(&from.columns, 3);
        let (list, columns) = self.list(expressions);
        let sql = format!("SELECT DISTINCT {list} FROM {}", from.text);
        Relation { sql, columns, parts: vec![inner] }
    }

    /// UNION, INTERSECT or EXCEPT of columns of the same types.
    fn set(&mut self, inner: Relation, depth: usize, operators: &[&str]) -> Relation {
        let other = self.query(depth);
        let (left, right) = (self.source(&inner), self.source(&other));
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for _ in 0..=self.random.below(2) {
            let made = expression(self.random, &left.columns, 1);
            if made.kind == Kind::Other {
                continue;
            }
            if let Some(same) = of_kind(self.random, &right.columns, |kind| kind == made.kind) {
                lefts.push((made.sql, made.kind));
                rights.push((same.sql, same.kind));
            }
        }
        if lefts.is_empty() {
            let same = self.random.chance(50);
            lefts.push(("CAST(1 AS BIGINT)".to_owned(), BIGINT));
            rights.push((format!("CAST({} AS BIGINT)", if same { 1 } else { 2 }), BIGINT));
        }
        let ((left_list, columns), (right_list, _)) = (self.list(lefts), self.list(rights));
        let operator = self.random.pick(operators);
        let sql = format!(
            "SELECT {left_list} FROM {} {operator} SELECT {right_list} FROM {}",
            left.text, right.text
        );
        Relation { sql, columns, parts: vec![inner, other] }
    }

    /// Two columns that can be compared, one of each side.
    fn pair(&mut self, left: &[Column], right: &[Column]) -> Option<(String, String)> {
        for _ in 0..4 {
            let made = expression(self.random, left, 1);
            if made.kind == Kind::Other {
                continue;
            }
            if let Some(other) = of_kind(self.random, right, |kind| kind == made.kind) {
                return Some((made.sql, other.sql));
            }
        }
        None
    }

    /// What a join is ON: equal columns, another condition, or both.
    fn on(&mut self, left: &[Column], right: &[Column]) -> String {
        let mut terms = Vec::new();
        let is_keyed = self.large || self.random.chance(85);
        if is_keyed && let Some((a, b)) = self.pair(left, right) {
            let equal = if self.random.chance(10) { "IS NOT DISTINCT FROM" } else { "=" };
            // DataFusion takes all that follows for the second operand without the brackets.
            terms.push(format!("({a} {equal} {b})"));
            if self.random.chance(20)
                && let Some((a, b)) = self.pair(left, right)
            {
                terms.push(format!("{a} = {b}"));
            }
        }
        if terms.is_empty() && self.large {
            return "false".to_owned();
        }
        if terms.is_empty() || self.random.chance(40) {
            let both: Vec<Column> = left.iter().chain(right).cloned().collect();
            terms.push(match self.pair(left, right) {
                Some((a, b)) if self.random.chance(60) => format!("{a} < {b}"),
                _ => predicate(self.random, &both, 1),
            });
        }
        terms.join(" AND ")
    }

    fn join(&mut self, inner: Relation, depth: usize) -> Relation {
        let other = match self.random.chance(15) {
            true => inner.clone(),
            false => self.query(depth),
        };
        let (left, right) = (self.source(&inner), self.source(&other));
        let on = self.on(&left.columns, &right.columns);
        let kind = self.random.weighted(&[(4, "JOIN"), (3, "LEFT"), (2, "RIGHT"), (2, "FULL")]);
        let kind = if kind == "JOIN" { kind.to_owned() } else { format!("{kind} JOIN") };
        let both: Vec<Column> = left.columns.iter().chain(&right.columns).cloned().collect();
        let mut expressions: Vec<(String, Kind)> =
            both.iter().map(|column| (column.name.clone(), column.kind)).collect();
        while expressions.len() > 5 {
            expressions.swap_remove(self.random.below(expressions.len()));
        }
        let (list, columns) = self.list(expressions);
        let mut sql = format!("SELECT {list} FROM {} {kind} {} ON {on}", left.text, right.text);
        if self.random.chance(20) {
            sql = format!("{sql} WHERE {}", predicate(self.random, &both, 1));
        }
        Relation { sql, columns, parts: vec![inner, other] }
    }

    /// IN, EXISTS and their negations, alone or as one part of a condition.
    fn semi(&mut self, inner: Relation, depth: usize) -> Relation {
        let other = self.query(depth.min(1));
        let (left, right) = (self.source(&inner), self.source(&other));
        let pair = self.pair(&left.columns, &right.columns);
        let not = if self.random.chance(50) { "NOT " } else { "" };
        let condition = match pair {
            Some((a, b)) if self.random.chance(50) => {
                let only = match self.random.chance(40) {
                    true => format!(" WHERE {}", predicate(self.random, &right.columns, 1)),
                    false => String::new(),
                };
                format!("{a} {not}IN (SELECT {b} FROM {}{only})", right.text)
            }
            Some(_) => {
                let on = self.on(&left.columns, &right.columns);
                format!("{not}EXISTS (SELECT 1 FROM {} WHERE {on})", right.text)
            }
            None => format!("{not}EXISTS (SELECT 1 FROM {})", right.text),
        };
        let condition = match self.random.chance(25) {
            true => format!("{condition} OR {}", predicate(self.random, &left.columns, 1)),
            false => condition,
        };
        let sql = format!("SELECT * FROM {} WHERE {condition}", left.text);
        Relation { sql, columns: inner.columns.clone(), parts: vec![inner, other] }
    }

    /// A scalar subquery, correlated by equality or not at all.
    fn scalar(&mut self, inner: Relation, depth: usize) -> Relation {
        let other = self.query(depth.min(1));
        let (left, right) = (self.source(&inner), self.source(&other));
        let call = aggregate(self.random, &right.columns, Choice::Common);
        let correlated = match self.pair(&left.columns, &right.columns) {
            Some((a, b)) if self.random.chance(60) => format!(" WHERE {b} = {a}"),
            _ => String::new(),
        };
        let subquery = format!("(SELECT {} FROM {}{correlated})", call.sql, right.text);
        let comparable = of_kind(self.random, &left.columns, |kind| kind == call.kind);
        if let Some(column) = comparable
            && self.random.chance(40)
        {
            let sql = format!("SELECT * FROM {} WHERE {} >= {subquery}", left.text, column.sql);
            return Relation { sql, columns: inner.columns.clone(), parts: vec![inner, other] };
        }
        let mut expressions = self.expressions(&left.columns, 2);
        expressions.push((subquery, call.kind));
        let (list, columns) = self.list(expressions);
        let sql = format!("SELECT {list} FROM {}", left.text);
        Relation { sql, columns, parts: vec![inner, other] }
    }

    fn aggregates(&mut self, columns: &[Column]) -> Vec<(String, Kind)> {
        let choice = if self.random.chance(60) { Choice::Common } else { Choice::All };
        let one = |_| {
            let call = aggregate(self.random, columns, choice);
            (call.sql, call.kind)
        };
        (0..3).map(one).collect()
    }

    fn group(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let mut keys = match self.random.below(6) {
            0 => vec![],
            1..5 => self.expressions(&from.columns, 1),
            _ => self.expressions(&from.columns, 2),
        };
        keys.retain(|(_, kind)| *kind != Kind::Other);
        let mut calls = self.aggregates(&from.columns);
        calls.truncate(1 + self.random.below(3));
        let having = match self.random.chance(20) {
            true => " HAVING count(*) > 1",
            false => "",
        };
        let by: Vec<&str> = keys.iter().map(|(sql, _)| sql.as_str()).collect();
        let by = match by.is_empty() {
            true => String::new(),
            false => format!(" GROUP BY {}", by.join(", ")),
        };
        let (list, columns) = self.list(keys.into_iter().chain(calls).collect());
        let sql = format!("SELECT {list} FROM {}{by}{having}", from.text);
        Relation { sql, columns, parts: vec![inner] }
    }

    fn grouping_sets(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let mut keys: Vec<Column> =
            from.columns.iter().filter(|c| c.kind != Kind::Other).cloned().collect();
        while keys.len() > 2 {
            keys.swap_remove(self.random.below(keys.len()));
        }
        if keys.is_empty() {
            return self.group(inner);
        }
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let sets = match self.random.below(3) {
            0 => format!("ROLLUP ({})", names.join(", ")),
            1 => format!("CUBE ({})", names.join(", ")),
            _ => format!("GROUPING SETS (({}), ({}), ())", names.join(", "), names[0]),
        };
        let mut calls = self.aggregates(&from.columns);
        calls.truncate(1 + self.random.below(2));
        calls.push((format!("grouping({})", names[0]), Kind::Int { bits: 32, signed: true }));
        let keys = keys.iter().map(|key| (key.name.clone(), key.kind));
        let (list, columns) = self.list(keys.chain(calls).collect());
        let sql = format!("SELECT {list} FROM {} GROUP BY {sets}", from.text);
        Relation { sql, columns, parts: vec![inner] }
    }

    fn top(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let by = match self.random.chance(80) {
            true => format!(" ORDER BY {}", order(self.random, &from.columns)),
            false => String::new(),
        };
        let offset = match self.random.chance(30) {
            true => format!(" OFFSET {}", self.random.below(3)),
            false => String::new(),
        };
        let limit = self.random.below(5);
        let sql = format!("SELECT * FROM {}{by} LIMIT {limit}{offset}", from.text);
        Relation { sql, columns: inner.columns.clone(), parts: vec![inner] }
    }

    fn first_rows(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let key = expression(self.random, &from.columns, 1).sql;
        let by = order(self.random, &from.columns);
        let (numbered, number) = (self.name("r"), self.name("n"));
        let function = *self.random.pick(&["row_number", "row_number", "rank", "dense_rank"]);
        let (least, limit) = (self.random.pick(&["<=", "<", "="]), 1 + self.random.below(3));
        let sql = format!(
            "SELECT * FROM (SELECT *, {function}() OVER (PARTITION BY {key} ORDER BY {by}) \
             AS {number} FROM {}) AS {numbered} WHERE {number} {least} {limit}",
            from.text
        );
        let mut columns = inner.columns.clone();
        let kind = Kind::Int { bits: 64, signed: false };
        columns.push(Column { name: number, kind, nullable: false });
        Relation { sql, columns, parts: vec![inner] }
    }

    fn distinct_on(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let key = self.random.pick(&from.columns).name.clone();
        let by = order(self.random, &from.columns);
        let sql = format!("SELECT DISTINCT ON ({key}) * FROM {} ORDER BY {key}, {by}", from.text);
        Relation { sql, columns: inner.columns.clone(), parts: vec![inner] }
    }

    fn window(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let mut expressions = self.expressions(&from.columns, 2);
        let calls = windows(self.random, &from.columns);
        expressions.extend(calls.into_iter().map(|call| (call.sql, call.kind)));
        let (list, columns) = self.list(expressions);
        Relation { sql: format!("SELECT {list} FROM {}", from.text), columns, parts: vec![inner] }
    }

    /// tumble, hop or session over a table or view; an aggregate by windows or the rows in them.
    fn time_window(&mut self) -> Relation {
        let inner = self.query(0);
        let is_time = |column: &&Column| column.kind == Kind::Time;
        let Some(time) = inner.columns.iter().find(is_time).map(|c| c.name.clone()) else {
            return self.window(inner);
        };
        let (alias, table) = (self.name("r"), &inner.sql);
        let call = match self.random.below(4) {
            0 => format!("tumble({table}, {time}, '1m')"),
            1 => format!("hop({table}, {time}, '25s', '75s')"),
            2 => format!("session({table}, {time}, '30s')"),
            _ => {
                let key = self.random.pick(&inner.columns).name.clone();
                format!("session({table}, {time}, '45s', {key})")
            }
        };
        let full = |c: &Column| Column { name: format!("{alias}.{}", c.name), ..c.clone() };
        let columns: Vec<Column> = inner.columns.iter().map(full).collect();
        let window = ["window_start", "window_end"].map(|c| (format!("{alias}.{c}"), Kind::Time));
        let (mut by, mut list) = (String::new(), window.to_vec());
        if self.random.chance(60) {
            by = format!(" GROUP BY {alias}.window_start, {alias}.window_end");
            list.extend(self.aggregates(&columns));
        } else {
            list.extend(self.expressions(&columns, 2));
        }
        let (list, columns) = self.list(list);
        let sql = format!("SELECT {list} FROM {call} AS {alias}{by}");
        Relation { sql, columns, parts: vec![inner] }
    }

    /// A list of two values of each row, taken apart.
    fn unnest(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let element = self.random.pick(&from.columns).clone();
        if element.kind == Kind::Other {
            return self.project(inner);
        }
        let other = of_kind(self.random, &from.columns, |kind| kind == element.kind);
        let other = other.map_or("NULL".to_owned(), |other| other.sql);
        let mut expressions = self.expressions(&from.columns, 2);
        expressions.push((format!("unnest([{}, {other}])", element.name), element.kind));
        let (list, columns) = self.list(expressions);
        Relation { sql: format!("SELECT {list} FROM {}", from.text), columns, parts: vec![inner] }
    }

    /// An ASOF join with a table or view.
    fn asof(&mut self, inner: Relation) -> Relation {
        let other = self.query(0);
        let (left, right) = (self.source(&inner), self.source(&other));
        let is_ordered = |kind| !matches!(kind, Kind::Other | Kind::Bool);
        let by = of_kind(self.random, &left.columns, is_ordered);
        let matched = by.and_then(|by| {
            let same = of_kind(self.random, &right.columns, |kind| kind == by.kind)?;
            Some((by.sql, same.sql))
        });
        let Some((by, matched)) = matched else { return self.join(inner, 0) };
        let keys = of_kind(self.random, &left.columns, is_ordered).and_then(|key| {
            let same = of_kind(self.random, &right.columns, |kind| kind == key.kind)?;
            Some(format!(" ON {} = {}", key.sql, same.sql))
        });
        let on = if self.large || self.random.chance(80) { keys } else { None };
        if on.is_none() && self.large {
            return self.join(inner, 0);
        }
        let comparison = self.random.pick(&[">=", ">", "<=", "<"]);
        let both: Vec<Column> = left.columns.iter().chain(&right.columns).cloned().collect();
        let mut expressions: Vec<(String, Kind)> =
            both.iter().map(|column| (column.name.clone(), column.kind)).collect();
        while expressions.len() > 5 {
            expressions.swap_remove(self.random.below(expressions.len()));
        }
        let (list, columns) = self.list(expressions);
        let sql = format!(
            "SELECT {list} FROM {} ASOF JOIN {} MATCH_CONDITION ({by} {comparison} {matched}){}",
            left.text,
            right.text,
            on.unwrap_or_default()
        );
        Relation { sql, columns, parts: vec![inner, other] }
    }

    /// What can be reached from the rows of one relation over those of another, or some steps up;
    /// there are few numbers to reach.
    fn recursive(&mut self, inner: Relation, depth: usize) -> Relation {
        let is_int = |kind| matches!(kind, Kind::Int { signed, bits } if signed || bits < 64);
        let small = |sql: &str| format!("CAST({sql} AS BIGINT) % 7");
        let from = self.source(&inner);
        let Some(start) = of_kind(self.random, &from.columns, is_int) else {
            return self.project(inner);
        };
        let (name, x) = (self.name("q"), self.name("c"));
        let mut parts = vec![inner];
        let other = self.query(depth.min(1));
        let edges = self.source(&other);
        let edge = of_kind(self.random, &edges.columns, is_int).and_then(|a| {
            let b = of_kind(self.random, &edges.columns, is_int)?;
            Some((small(&a.sql), small(&b.sql)))
        });
        let term = match edge {
            Some((a, b)) if self.random.chance(70) => {
                parts.push(other);
                let all = self.random.pick(&["UNION SELECT", "UNION SELECT DISTINCT"]);
                let text = edges.text;
                format!("{all} {b} FROM {name} JOIN {text} ON {a} = {name}.{x}")
            }
            _ => {
                let union = self.random.pick(&["UNION", "UNION ALL"]);
                format!("{union} SELECT {x} + 1 FROM {name} WHERE {x} < 4")
            }
        };
        let sql = format!(
            "WITH RECURSIVE {name} AS (SELECT {} AS {x} FROM {} {term}) SELECT {x} FROM {name}",
            small(&start.sql),
            from.text
        );
        let columns = vec![Column { name: x, kind: BIGINT, nullable: true }];
        Relation { sql, columns, parts }
    }

    /// Rows that come and go with the time, which is the number of the epoch in microseconds.
    fn temporal(&mut self, inner: Relation) -> Relation {
        let from = self.source(&inner);
        let is_int = |kind| matches!(kind, Kind::Int { signed, bits } if signed || bits < 64);
        let Some(number) = of_kind(self.random, &from.columns, is_int) else {
            return self.filter(inner);
        };
        let number = format!("CAST({} AS BIGINT) % 6", number.sql);
        let at = format!("arrow_cast({number}, 'Timestamp(Microsecond, None)')");
        let comparison = self.random.pick(&[">", ">=", "<", "<=", "="]);
        let steps = self.random.below(4);
        let sql = format!(
            "SELECT * FROM {} WHERE {at} {comparison} now() - INTERVAL '{steps} microseconds'",
            from.text
        );
        Relation { sql, columns: inner.columns.clone(), parts: vec![inner] }
    }

    /// A query by a name that is used twice.
    fn with(&mut self, inner: Relation) -> Relation {
        let name = self.name("w");
        let named = Relation::named(&name, &inner.columns);
        let made = match self.large {
            true => self.set(named, 0, &["UNION", "UNION ALL"]),
            false => {
                self.relations.push(named.clone());
                let made = self.join(named, 0);
                self.relations.pop();
                made
            }
        };
        let sql = format!("WITH {name} AS ({}) {}", inner.select(), made.sql);
        Relation { sql, columns: made.columns, parts: vec![inner] }
    }
}

fn steps(theme: Theme) -> [(usize, Step); 20] {
    let (rows, joins, groups, orders) = match theme {
        Theme::Rows => (6, 1, 1, 1),
        Theme::Joins => (2, 6, 1, 1),
        Theme::Groups => (2, 1, 6, 1),
        Theme::Orders => (2, 1, 1, 6),
        Theme::Anything => (2, 2, 2, 2),
    };
    [
        (rows, Step::Filter),
        (rows, Step::Project),
        (rows, Step::Distinct),
        (rows, Step::Union),
        (rows, Step::Intersect),
        (2 * joins, Step::Join),
        (joins, Step::Semi),
        (joins, Step::Scalar),
        (2 * groups, Step::Group),
        (groups, Step::GroupingSets),
        (orders, Step::Top),
        (orders, Step::FirstRows),
        (orders, Step::DistinctOn),
        (orders, Step::Window),
        (1 + orders / 3, Step::TimeWindow),
        (1, Step::With),
        (1 + rows / 3, Step::Unnest),
        (1 + joins / 3, Step::Asof),
        (1, Step::Recursive),
        (1, Step::Temporal),
    ]
}
