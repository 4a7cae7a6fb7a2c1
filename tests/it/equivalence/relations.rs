//! Random queries: relations over relations, each in the words of the stream and of the batch.

use super::expressions::{aggregate, condition, of_kind, value};
use super::tables;
use super::tape::Tape;

/// How deep relations are nested.
const DEPTH_MAX: usize = 3;
const COLUMNS_MAX: usize = 5;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Text,
    /// Quarters and halves of them, whose sums are exact.
    Float,
    /// A quotient: it is compared, and not computed with, for its sums depend on their order.
    Mean,
    Time,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Something that may stand in FROM.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// A name or a subquery in parentheses.
    pub(super) stream: String,
    pub(super) batch: String,
    pub(super) columns: Vec<Column>,
    /// The column that is the event time of rows that do not change.
    pub(super) time: Option<String>,
}

/// A SELECT with the views below it.
#[derive(Debug)]
pub(super) struct Query {
    views: Vec<[String; 2]>,
    select: [String; 2],
    pub(super) is_ordered: bool,
}

impl Query {
    /// The query of this number that the choices make.
    pub(super) fn from_tape(number: usize, choices: &[u16]) -> Self {
        let mut maker = Maker { tape: Tape::new(choices), number, views: Vec::new(), aliases: 0 };
        let relation = maker.relation(DEPTH_MAX);
        let (select, is_ordered) = maker.outermost(&relation);
        Self { views: maker.views, select, is_ordered }
    }

    /// The statements, each in a line.
    pub(super) fn statements(&self, stream: bool) -> Vec<String> {
        let texts = self.views.iter().chain([&self.select]);
        texts.map(|[of_stream, of_batch]| format!("{};\n", if stream { of_stream } else { of_batch })).collect()
    }

    /// The same for a stream that writes into a sink: what stands between CREATE and SELECT is given.
    pub(super) fn sink_statements(&self, sink: &str) -> Vec<String> {
        let views = self.views.iter().map(|[of_stream, _]| format!("{of_stream};\n"));
        views.chain([format!("CREATE {sink} AS {};\n", self.select[0])]).collect()
    }

    /// Both texts, or one if they are the same.
    pub(super) fn shown(&self) -> String {
        let (stream, batch) = (self.statements(true).concat(), self.statements(false).concat());
        if stream == batch { stream } else { format!("{stream}-- in batch:\n{batch}") }
    }
}

/// Makes the relations of one query.
pub(super) struct Maker<'a> {
    pub(super) tape: Tape<'a>,
    number: usize,
    views: Vec<[String; 2]>,
    aliases: usize,
}

impl Maker<'_> {
    /// Any relation.
    fn relation(&mut self, depth: usize) -> Relation {
        if depth == 0 {
            return self.table();
        }
        let relation = match self.tape.below(11) {
            0 => return self.table(),
            1 => self.filtered(depth - 1),
            2 | 3 => self.grouped(depth - 1),
            4 => self.distinct(depth - 1),
            5 => self.union(depth - 1),
            6 => self.joined(depth - 1),
            7 => self.semi_joined(depth - 1),
            8 => self.top_n(depth - 1),
            _ => return self.timed(depth),
        };
        self.named(relation)
    }

    /// A relation with event time.
    pub(super) fn timed(&mut self, depth: usize) -> Relation {
        if depth == 0 {
            return self.timed_table();
        }
        let relation = match self.tape.below(8) {
            0 => return self.timed_table(),
            1 => {
                let input = self.timed(depth - 1);
                self.filter(&input)
            }
            2 => {
                let input = self.timed(depth - 1);
                self.windowed(&input)
            }
            3 => {
                let input = self.timed(depth - 1);
                self.session(&input)
            }
            4 => {
                let (left, right) = (self.timed(depth - 1), self.timed_table());
                self.interval_joined(&left, &right)
            }
            5 => {
                let (left, right) = (self.timed(depth - 1), self.timed_table());
                self.interval_semi_joined(&left, &right)
            }
            6 => {
                let (a, b) = (self.timed_table(), self.timed_table());
                self.union_of(&[a, b], "UNION ALL")
            }
            _ => {
                let input = self.timed(depth - 1);
                self.windowed(&input)
            }
        };
        let relation = if relation.time.is_some() { relation } else { return self.timed_table() };
        self.named(relation)
    }

    fn table(&mut self) -> Relation {
        let name = self.tape.pick(&["l", "r", "n"]);
        table(name)
    }

    fn timed_table(&mut self) -> Relation {
        let name = self.tape.pick(&["l", "r"]);
        table(name)
    }

    /// The relation behind a view, sometimes.
    fn named(&mut self, relation: Relation) -> Relation {
        if self.tape.once_in(3) { self.view(relation) } else { relation }
    }

    /// The relation behind a view.
    pub(super) fn view(&mut self, relation: Relation) -> Relation {
        let name = format!("q{}v{}", self.number, self.views.len());
        let create = |from: &str| {
            let query = from.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            format!("CREATE VIEW {name} AS {}", query.map_or(format!("SELECT * FROM {from}"), str::to_owned))
        };
        self.views.push([create(&relation.stream), create(&relation.batch)]);
        Relation { stream: name.clone(), batch: name, ..relation }
    }

    /// A name for a relation in FROM, and its columns by it.
    pub(super) fn alias(&mut self, relation: &Relation) -> (String, Vec<Column>) {
        self.aliases += 1;
        let alias = format!("t{}", self.aliases);
        let columns = relation.columns.iter();
        let columns = columns.map(|column| Column { name: format!("{alias}.{}", column.name), kind: column.kind });
        (alias.clone(), columns.collect())
    }

    fn filtered(&mut self, depth: usize) -> Relation {
        let input = self.relation(depth);
        self.filter(&input)
    }

    /// Some columns and expressions of some rows; the event time, if there is one, stays.
    fn filter(&mut self, input: &Relation) -> Relation {
        let (alias, scope) = self.alias(input);
        let mut output = Output::default();
        let time = input.time.as_ref().map(|time| output.add(format!("{alias}.{time}"), Kind::Time));
        for _ in 0..1 + self.tape.below(3) {
            let column = self.tape.pick(&scope);
            output.add(value(&mut self.tape, &scope, &column), column.kind);
        }
        let condition = condition(&mut self.tape, &scope, 2);
        let rest = |from: &str| format!("FROM {from} {alias} WHERE {condition}");
        output.relation(rest(&input.stream), rest(&input.batch), time)
    }

    fn grouped(&mut self, depth: usize) -> Relation {
        let input = self.relation(depth);
        let (alias, scope) = self.alias(&input);
        let mut output = Output::default();
        let mut keys = Vec::new();
        for _ in 0..self.tape.below(3) {
            let column = self.tape.pick(&scope);
            let key = match (column.kind, self.tape.below(4)) {
                (Kind::Int, 1) => format!("{} % 2", column.name),
                (Kind::Text, 1) => format!("upper({})", column.name),
                _ => column.name.clone(),
            };
            if !keys.contains(&key) {
                output.add(key.clone(), column.kind);
                keys.push(key);
            }
        }
        self.aggregates(&scope, &mut output);
        let mut tail = String::new();
        if self.tape.once_in(4) {
            tail.push_str(&format!(" WHERE {}", condition(&mut self.tape, &scope, 1)));
        }
        if !keys.is_empty() {
            tail.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        if self.tape.once_in(4) {
            tail.push_str(&format!(" HAVING count(*) > {}", self.tape.below(3)));
        }
        let rest = |from: &str| format!("FROM {from} {alias}{tail}");
        output.relation(rest(&input.stream), rest(&input.batch), None)
    }

    /// One or more aggregates.
    pub(super) fn aggregates(&mut self, scope: &[Column], output: &mut Output) {
        for _ in 0..1 + self.tape.below(3) {
            let (call, kind) = aggregate(&mut self.tape, scope);
            output.add(call, kind);
        }
    }

    fn distinct(&mut self, depth: usize) -> Relation {
        let input = self.relation(depth);
        let (alias, scope) = self.alias(&input);
        let mut output = Output { distinct: true, ..Output::default() };
        for _ in 0..1 + self.tape.below(2) {
            let column = self.tape.pick(&scope);
            output.add(column.name, column.kind);
        }
        let rest = |from: &str| format!("FROM {from} {alias}");
        output.relation(rest(&input.stream), rest(&input.batch), None)
    }

    fn union(&mut self, depth: usize) -> Relation {
        let (a, b) = (self.relation(depth), self.relation(depth.min(1)));
        let operator = self.tape.pick(&["UNION ALL", "UNION"]);
        self.union_of(&[a, b], operator)
    }

    /// The columns that both have a kind of.
    fn union_of(&mut self, inputs: &[Relation; 2], operator: &str) -> Relation {
        let times = inputs.each_ref().map(|input| input.time.clone());
        let timed = operator == "UNION ALL" && times.iter().all(Option::is_some);
        let kinds: Vec<Kind> = inputs[0].columns.iter().map(|column| column.kind).collect();
        let mut outputs = [Output::default(), Output::default()];
        let mut places: Vec<[String; 2]> = Vec::new();
        if timed {
            places.push(times.map(Option::unwrap_or_default));
        }
        for kind in kinds.into_iter().take(COLUMNS_MAX - 1) {
            let [first, second] = inputs.each_ref().map(|input| of_kind(&input.columns, kind));
            if !second.is_empty() {
                places.push([self.tape.pick(&first), self.tape.pick(&second)]);
            }
        }
        if places.is_empty() {
            return inputs[0].clone();
        }
        for (side, (output, input)) in outputs.iter_mut().zip(inputs).enumerate() {
            for place in &places {
                let column = input.columns.iter().find(|column| column.name == place[side]).unwrap();
                output.add(column.name.clone(), column.kind);
            }
        }
        let [a, b] = outputs;
        let time = timed.then(|| a.columns[0].name.clone());
        let part = |output: &Output, from: &str| output.select(&format!("FROM {from}"));
        let text = |from: [&str; 2]| format!("({} {operator} {})", part(&a, from[0]), part(&b, from[1]));
        Relation {
            stream: text([&inputs[0].stream, &inputs[1].stream]),
            batch: text([&inputs[0].batch, &inputs[1].batch]),
            columns: a.columns.clone(),
            time,
        }
    }

    /// Two columns of a kind, one of each side.
    pub(super) fn key(&mut self, left: &[Column], right: &[Column]) -> Option<String> {
        let kinds: Vec<Kind> = [Kind::Int, Kind::Text, Kind::Float]
            .into_iter()
            .filter(|kind| [left, right].iter().all(|side| side.iter().any(|column| column.kind == *kind)))
            .collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = self.tape.pick(&kinds);
        let (l, r) = (self.tape.pick(&of_kind(left, kind)), self.tape.pick(&of_kind(right, kind)));
        Some(format!("{l} = {r}"))
    }

    fn joined(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth), self.relation(depth.min(1)));
        let ((l, left_scope), (r, right_scope)) = (self.alias(&left), self.alias(&right));
        let Some(key) = self.key(&left_scope, &right_scope) else { return left };
        let kind = self.tape.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let both = [left_scope.clone(), right_scope.clone()].concat();
        let extra = self.extra_condition(&both);
        let mut output = Output::default();
        self.some_of(&left_scope, &mut output);
        self.some_of(&right_scope, &mut output);
        let above = if self.tape.once_in(4) {
            format!(" WHERE {}", condition(&mut self.tape, &both, 1))
        } else {
            String::new()
        };
        let rest = |a: &str, b: &str| format!("FROM {a} {l} {kind} {b} {r} ON {key}{extra}{above}");
        output.relation(rest(&left.stream, &right.stream), rest(&left.batch, &right.batch), None)
    }

    /// A further condition of ON, sometimes.
    pub(super) fn extra_condition(&mut self, scope: &[Column]) -> String {
        if self.tape.once_in(3) { format!(" AND {}", condition(&mut self.tape, scope, 1)) } else { String::new() }
    }

    /// One column or two.
    pub(super) fn some_of(&mut self, scope: &[Column], output: &mut Output) {
        for _ in 0..1 + self.tape.below(2) {
            let column = self.tape.pick(scope);
            output.add(column.name, column.kind);
        }
    }

    fn semi_joined(&mut self, depth: usize) -> Relation {
        let (left, right) = (self.relation(depth), self.relation(depth.min(1)));
        let ((l, left_scope), (r, right_scope)) = (self.alias(&left), self.alias(&right));
        let Some(key) = self.key(&left_scope, &right_scope) else { return left };
        let (own, other) = key.split_once(" = ").unwrap_or_default();
        let extra = self.extra_condition(&right_scope);
        let form = self.tape.below(3);
        let mut output = Output::default();
        self.some_of(&left_scope, &mut output);
        let rest = |a: &str, b: &str| match form {
            0 => format!("FROM {a} {l} WHERE EXISTS (SELECT 1 FROM {b} {r} WHERE {key}{extra})"),
            1 => format!("FROM {a} {l} WHERE NOT EXISTS (SELECT 1 FROM {b} {r} WHERE {key}{extra})"),
            _ => format!("FROM {a} {l} WHERE {own} IN (SELECT {other} FROM {b} {r} WHERE {other} IS NOT NULL{extra})"),
        };
        output.relation(rest(&left.stream, &right.stream), rest(&left.batch, &right.batch), None)
    }

    fn top_n(&mut self, depth: usize) -> Relation {
        let input = self.relation(depth);
        let (alias, scope) = self.alias(&input);
        let partition =
            if self.tape.once_in(4) { String::new() } else { format!("PARTITION BY {} ", self.tape.pick(&scope).name) };
        // All columns order the rows: those that are left are equal in everything.
        let mut order = vec![format!("{}{}", self.tape.pick(&scope).name, self.tape.pick(&["", " DESC"]))];
        order.extend(scope.iter().map(|column| column.name.clone()));
        let mut inner = Output::default();
        let inner_scope: Vec<Column> = scope.iter().take(COLUMNS_MAX).cloned().collect();
        inner_scope.iter().for_each(|column| drop(inner.add(column.name.clone(), column.kind)));
        let number = format!("row_number() OVER ({partition}ORDER BY {})", order.join(", "));
        inner.add(number, Kind::Int);
        let limit = 1 + self.tape.below(3);
        let rank = inner.columns.pop().unwrap();
        let mut output = Output::default();
        inner.columns.iter().for_each(|column| drop(output.add(column.name.clone(), column.kind)));
        if self.tape.once_in(2) {
            output.add(rank.name.clone(), rank.kind);
        }
        let rest = |from: &str| {
            let numbered = inner.select(&format!("FROM {from} {alias}"));
            format!("FROM ({numbered}) WHERE {} <= {limit}", rank.name)
        };
        output.relation(rest(&input.stream), rest(&input.batch), None)
    }

    /// The outermost SELECT: its columns have names that no other query has.
    fn outermost(&mut self, relation: &Relation) -> ([String; 2], bool) {
        let (alias, scope) = self.alias(relation);
        let columns = scope.iter().enumerate().map(|(n, column)| format!("{} AS q{}c{n}", column.name, self.number));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let (mut tail, ordered) = (String::new(), self.tape.once_in(5));
        if ordered {
            let places = (1..=scope.len()).map(|n| format!("{n}{}", self.tape.pick(&["", " DESC"])));
            tail = format!(" ORDER BY {} LIMIT {}", places.collect::<Vec<_>>().join(", "), 1 + self.tape.below(20));
        }
        let text = |from: &str| format!("SELECT {columns} FROM {from} {alias}{tail}");
        ([text(&relation.stream), text(&relation.batch)], ordered)
    }
}

fn table(name: &str) -> Relation {
    let time = (name != "n").then(|| String::from("ts"));
    Relation { stream: name.to_owned(), batch: name.to_owned(), columns: tables::columns(name), time }
}

/// The columns of a SELECT that is being made: they are named by their numbers.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) distinct: bool,
    pub(super) columns: Vec<Column>,
    pub(super) expressions: Vec<String>,
}

impl Output {
    /// Adds a column; answers its name.
    pub(super) fn add(&mut self, expression: String, kind: Kind) -> String {
        let name = format!("c{}", self.expressions.len());
        self.expressions.push(expression);
        self.columns.push(Column { name: name.clone(), kind });
        name
    }

    /// The SELECT with what follows its columns.
    pub(super) fn select(&self, rest: &str) -> String {
        let columns = self.expressions.iter().enumerate().map(|(n, expression)| format!("{expression} AS c{n}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("SELECT {}{columns} {rest}", if self.distinct { "DISTINCT " } else { "" })
    }

    pub(super) fn relation(self, stream: String, batch: String, time: Option<String>) -> Relation {
        let (stream, batch) = (format!("({})", self.select(&stream)), format!("({})", self.select(&batch)));
        Relation { stream, batch, columns: self.columns, time }
    }
}
