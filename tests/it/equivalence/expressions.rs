//! Random expressions over the columns in sight.

use super::relations::{Column, Kind};
use super::tape::Tape;

/// The columns of a kind.
pub(super) fn of_kind(scope: &[Column], kind: Kind) -> Vec<String> {
    scope.iter().filter(|column| column.kind == kind).map(|column| column.name.clone()).collect()
}

/// An expression of the kind of a column, which may be the column itself.
pub(super) fn value(tape: &mut Tape<'_>, scope: &[Column], column: &Column) -> String {
    let Column { name, kind } = column;
    match (kind, tape.below(6)) {
        (Kind::Int, 1) => format!("{name} + 1"),
        (Kind::Int, 2) => format!("coalesce({name}, {})", whole(tape, scope)),
        (Kind::Int, 3) => format!("CASE WHEN {} THEN {name} ELSE -1 END", condition(tape, scope, 1)),
        (Kind::Int, 4) => format!("nullif({name}, 2)"),
        (Kind::Text, 1) => format!("upper({name})"),
        (Kind::Text, 2) => format!("coalesce({name}, 'none')"),
        (Kind::Text, 3) => format!("{name} || 'x'"),
        (Kind::Text, 4) => format!("CASE {name} WHEN 'a' THEN 'first' WHEN 'b' THEN 'second' END"),
        (Kind::Float, 1) => format!("{name} * 0.5"),
        (Kind::Float, 2) => format!("abs({name})"),
        _ => name.clone(),
    }
}

/// A whole number: a column or a literal.
fn whole(tape: &mut Tape<'_>, scope: &[Column]) -> String {
    let columns = of_kind(scope, Kind::Int);
    match tape.below(3) {
        1 if !columns.is_empty() => tape.pick(&columns),
        2 if !columns.is_empty() => format!("{} * 2", tape.pick(&columns)),
        _ => tape.pick(&["1", "0", "2", "-1", "3"]).to_owned(),
    }
}

/// A condition, with others in it up to a depth.
pub(super) fn condition(tape: &mut Tape<'_>, scope: &[Column], depth: usize) -> String {
    if depth > 0 && tape.once_in(3) {
        let (a, b) = (condition(tape, scope, depth - 1), condition(tape, scope, depth - 1));
        return match tape.below(3) {
            0 => format!("({a} AND {b})"),
            1 => format!("({a} OR {b})"),
            _ => format!("NOT ({a} AND {b})"),
        };
    }
    let column = tape.pick(scope);
    let name = &column.name;
    let compare = ["=", "<", ">=", "<>"];
    match (column.kind, tape.below(5)) {
        (_, 1) => format!("{name} IS NOT NULL"),
        (_, 2) => format!("{name} IS NULL"),
        (Kind::Int, 3) => format!("{name} IN (0, 2, 3)"),
        (Kind::Int, 4) => format!("{name} BETWEEN 0 AND {}", whole(tape, scope)),
        (Kind::Int, _) => format!("{name} {} {}", tape.pick(&compare), whole(tape, scope)),
        (Kind::Text, 3) => format!("{name} LIKE 'a%'"),
        (Kind::Text, _) => format!("{name} {} 'b'", tape.pick(&compare)),
        (Kind::Float | Kind::Mean, _) => format!("{name} {} 0.5", tape.pick(&["<", ">="])),
        (Kind::Time, _) => format!("{name} >= TIMESTAMP '2024-01-01 00:00:1{}'", tape.below(10)),
    }
}

/// An aggregate call and what kind of value it gives.
pub(super) fn aggregate(tape: &mut Tape<'_>, scope: &[Column]) -> (String, Kind) {
    let column = tape.pick(scope);
    let name = &column.name;
    let is_number = matches!(column.kind, Kind::Int | Kind::Float);
    let (call, kind) = match tape.below(7) {
        1 => (format!("count({name})"), Kind::Int),
        2 if is_number => (format!("sum({name})"), column.kind),
        3 => (format!("min({name})"), column.kind),
        4 => (format!("max({name})"), column.kind),
        5 if is_number => (format!("avg({name})"), Kind::Mean),
        6 => (format!("count(DISTINCT {name})"), Kind::Int),
        _ => (String::from("count(*)"), Kind::Int),
    };
    if tape.once_in(4) {
        return (format!("{call} FILTER (WHERE {})", condition(tape, scope, 0)), kind);
    }
    (call, kind)
}
