//! Relations that follow event time: windows, sessions and interval joins.
//!
//! The batch has no window functions: there each row is put beside its windows by arithmetic.

use super::relations::{Column, Kind, Maker, Output, Relation};

/// A window function and where its windows lie, in seconds.
#[derive(Debug, Clone, Copy)]
enum Window {
    Tumble { size: usize },
    Hop { slide: usize, size: usize },
    Cumulate { step: usize, size: usize },
}

const WINDOWS: [Window; 6] = [
    Window::Tumble { size: 10 },
    Window::Hop { slide: 5, size: 10 },
    Window::Cumulate { step: 5, size: 15 },
    Window::Tumble { size: 3 },
    Window::Hop { slide: 2, size: 8 },
    Window::Cumulate { step: 2, size: 4 },
];

fn seconds(count: usize) -> String {
    format!("INTERVAL '{count} seconds'")
}

impl Window {
    fn over_stream(self, input: &Relation, time: &str) -> String {
        let table =
            if input.stream.starts_with('(') { input.stream.clone() } else { format!("TABLE {}", input.stream) };
        let (name, sizes) = match self {
            Self::Tumble { size } => ("TUMBLE", vec![size]),
            Self::Hop { slide, size } => ("HOP", vec![slide, size]),
            Self::Cumulate { step, size } => ("CUMULATE", vec![step, size]),
        };
        let sizes: String = sizes.into_iter().map(|size| format!(", {}", seconds(size))).collect();
        format!("{name}({table}, DESCRIPTOR({time}){sizes})")
    }

    /// The rows with the same columns, once for each of their windows.
    fn over_batch(self, input: &Relation, time: &str) -> String {
        let from = &input.batch;
        let offsets = |step: usize, count: usize, first: usize| {
            let offsets = (first..first + count).map(|n| format!("({})", seconds(n * step)));
            offsets.collect::<Vec<_>>().join(", ")
        };
        let bin = |size: usize| format!("date_bin({}, w.{time})", seconds(size));
        match self {
            Self::Tumble { size } => format!(
                "(SELECT w.*, {0} AS window_start, {0} + {1} AS window_end FROM {from} w)",
                bin(size),
                seconds(size)
            ),
            Self::Hop { slide, size } => format!(
                "(SELECT w.*, {0} - o.x AS window_start, {0} - o.x + {1} AS window_end \
                 FROM {from} w CROSS JOIN (VALUES {2}) o (x))",
                bin(slide),
                seconds(size),
                offsets(slide, size / slide, 0)
            ),
            Self::Cumulate { step, size } => format!(
                "(SELECT w.*, {0} AS window_start, {0} + o.x AS window_end \
                 FROM {from} w CROSS JOIN (VALUES {1}) o (x) WHERE w.{time} < {0} + o.x)",
                bin(size),
                offsets(step, size / step, 1)
            ),
        }
    }
}

impl Maker<'_> {
    /// Aggregates of windows, or each row with its windows.
    pub(super) fn windowed(&mut self, input: &Relation) -> Relation {
        let Some(time) = &input.time else { return input.clone() };
        let window = self.tape.pick(&WINDOWS);
        let (alias, scope) = self.alias(input);
        let mut output = Output::default();
        output.add(String::from("window_start"), Kind::Time);
        let end = output.add(String::from("window_end"), Kind::Time);
        let mut tail = String::new();
        if self.tape.once_in(5) {
            self.some_of(&scope, &mut output);
        } else {
            let mut keys = String::new();
            if self.tape.once_in(2) {
                let key = self.tape.pick(&scope);
                keys = format!("{}, ", key.name);
                output.add(key.name, key.kind);
            }
            self.aggregates(&scope, &mut output);
            tail = format!(" GROUP BY {keys}window_start, window_end");
        }
        let rest = |from: &str| format!("FROM {from} {alias}{tail}");
        let (stream, batch) = (window.over_stream(input, time), window.over_batch(input, time));
        output.relation(rest(&stream), rest(&batch), Some(end))
    }

    /// Aggregates of sessions.
    pub(super) fn session(&mut self, input: &Relation) -> Relation {
        let Some(time) = &input.time else { return input.clone() };
        let others: Vec<Column> = input.columns.iter().filter(|column| column.name != *time).cloned().collect();
        if others.is_empty() {
            return input.clone();
        }
        let key = self.tape.pick(&others).name;
        // PARTITION BY stands behind a name only.
        let input = &if input.stream.starts_with('(') { self.view(input.clone()) } else { input.clone() };
        let gap = seconds(1 + self.tape.below(4));
        let (alias, scope) = self.alias(input);
        let mut aggregates = Output::default();
        self.aggregates(&scope, &mut aggregates);
        let output = |start: &str, end: &str| {
            let mut output = Output::default();
            output.add(start.to_owned(), Kind::Time);
            output.add(end.to_owned(), Kind::Time);
            let kind = input.columns.iter().find(|column| column.name == key).map_or(Kind::Int, |column| column.kind);
            output.add(format!("{alias}.{key}"), kind);
            aggregates.copy_to(&mut output);
            output
        };
        let stream = output("window_start", "window_end").select(&format!(
            "FROM SESSION(TABLE {} PARTITION BY {key}, DESCRIPTOR({time}), {gap}) {alias} \
             GROUP BY {alias}.{key}, window_start, window_end",
            input.stream
        ));
        let batch = output(&format!("min({alias}.{time})"), &format!("max({alias}.{time}) + {gap}"));
        let numbered = format!(
            "(SELECT *, sum(fresh) OVER (PARTITION BY {key} ORDER BY {time}) AS session FROM (SELECT *, \
             CASE WHEN {time} <= lag({time}) OVER (PARTITION BY {key} ORDER BY {time}) + {gap} THEN 0 ELSE 1 END AS fresh \
             FROM {}))",
            input.batch
        );
        let text = batch.select(&format!("FROM {numbered} {alias} GROUP BY {alias}.{key}, session"));
        let time = Some(batch.columns[1].name.clone());
        Relation { stream: format!("({stream})"), batch: format!("({text})"), columns: batch.columns, time }
    }

    /// Rows that are near each other in time, with those that have no partner as the kind of join says.
    pub(super) fn interval_joined(&mut self, left: &Relation, right: &Relation) -> Relation {
        let (Some(left_time), Some(right_time)) = (&left.time, &right.time) else { return left.clone() };
        let ((l, left_scope), (r, right_scope)) = (self.alias(left), self.alias(right));
        let (bounds, lower) = self.bounds(&format!("{l}.{left_time}"), &format!("{r}.{right_time}"));
        let key = self.key(&left_scope, &right_scope).map_or(String::new(), |key| format!("{key} AND "));
        let kind = self.tape.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let extra = self.extra_condition(&[left_scope.clone(), right_scope.clone()].concat());
        let mut output = Output::default();
        let left_column = output.add(format!("{l}.{left_time}"), Kind::Time);
        let right_column = output.add(format!("{r}.{right_time}"), Kind::Time);
        self.some_of(&left_scope, &mut output);
        self.some_of(&right_scope, &mut output);
        let time = match kind {
            "FULL JOIN" => None,
            "RIGHT JOIN" => Some(right_column),
            "JOIN" if lower >= 0 => Some(right_column),
            _ => Some(left_column),
        };
        let rest = |a: &str, b: &str| format!("FROM {a} {l} {kind} {b} {r} ON {key}{bounds}{extra}");
        output.relation(rest(&left.stream, &right.stream), rest(&left.batch, &right.batch), time)
    }

    /// Rows that have, or that have not, a partner that is near in time.
    pub(super) fn interval_semi_joined(&mut self, left: &Relation, right: &Relation) -> Relation {
        let (Some(left_time), Some(right_time)) = (&left.time, &right.time) else { return left.clone() };
        let ((l, left_scope), (r, right_scope)) = (self.alias(left), self.alias(right));
        let (bounds, _) = self.bounds(&format!("{l}.{left_time}"), &format!("{r}.{right_time}"));
        let Some(key) = self.key(&left_scope, &right_scope) else { return left.clone() };
        let exists = self.tape.pick(&["EXISTS", "NOT EXISTS"]);
        let extra = self.extra_condition(&right_scope);
        let mut output = Output::default();
        let time = output.add(format!("{l}.{left_time}"), Kind::Time);
        self.some_of(&left_scope, &mut output);
        let rest = |a: &str, b: &str| {
            format!("FROM {a} {l} WHERE {exists} (SELECT 1 FROM {b} {r} WHERE {key} AND {bounds}{extra})")
        };
        output.relation(rest(&left.stream, &right.stream), rest(&left.batch, &right.batch), Some(time))
    }

    /// Bounds between two times, and the lower one in seconds.
    fn bounds(&mut self, left: &str, right: &str) -> (String, i64) {
        let (lower, upper) = self.tape.pick(&[(0, 3), (-2, 2), (-4, -1), (1, 6), (0, 0)]);
        let moved = |by: i64| {
            let sign = if by < 0 { '-' } else { '+' };
            format!("{left} {sign} {}", seconds(by.unsigned_abs() as usize))
        };
        (format!("{right} BETWEEN {} AND {}", moved(lower), moved(upper)), lower)
    }
}

impl Output {
    /// Adds the same columns to another SELECT.
    fn copy_to(&self, other: &mut Self) {
        for (expression, column) in self.expressions.iter().zip(&self.columns) {
            other.add(expression.clone(), column.kind);
        }
    }
}
