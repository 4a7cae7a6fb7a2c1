//! Tables that fit on a terminal: cells are cut, and where that is not enough each value has a line of its own.

use std::borrow::Cow;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use console::Term;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a column is never cut below: less says nothing.
const CELL_WIDTH_MIN: usize = 6;

/// What stands around a cell: a rule and a space before it, and a space behind it.
const CELL_FRAME: usize = 3;

/// Stands for what was cut.
const CUT: char = '…';

/// How many columns of characters standard output shows, if it is a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// The values of rows as text, row by row.
pub(crate) fn cells(rows: &RecordBatch) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Result<Vec<_>, _> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
    let columns = columns?;
    let row = |row: usize| columns.iter().map(|column| column.value(row).try_to_string()).collect();
    (0..rows.num_rows()).map(row).collect()
}

/// Writes a table that is no wider than `room`.
pub(crate) fn write(out: &mut impl Write, names: &[String], rows: &[Vec<String>], room: usize) -> io::Result<()> {
    let names = printable_cells(names);
    let rows: Vec<_> = rows.iter().map(|row| printable_cells(row)).collect();
    let mut wanted: Vec<usize> = names.iter().map(|name| name.width()).collect();
    for row in &rows {
        for (width, cell) in wanted.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    match fit(&wanted, room) {
        Some(widths) => {
            let rule = rule(&widths);
            writeln!(out, "{rule}\n{}\n{rule}", line(&widths, names.iter()))?;
            rows.iter().try_for_each(|row| writeln!(out, "{}", line(&widths, row.iter())))?;
            writeln!(out, "{rule}")
        }
        None => write_records(out, &names, &rows),
    }
}

/// Writes each value on a line of its own, whole.
pub(crate) fn write_expanded(out: &mut impl Write, names: &[String], rows: &[Vec<String>]) -> io::Result<()> {
    let names = printable_cells(names);
    let rows: Vec<_> = rows.iter().map(|row| printable_cells(row)).collect();
    write_records(out, &names, &rows)
}

fn write_records(out: &mut impl Write, names: &[Cow<'_, str>], rows: &[Vec<Cow<'_, str>>]) -> io::Result<()> {
    let width = names.iter().map(|name| name.width()).max().unwrap_or_default();
    if rows.is_empty() {
        writeln!(out, "no rows")?;
    }
    for (number, row) in rows.iter().enumerate() {
        let title = format!("-[ {} ]", number + 1);
        writeln!(out, "{title:-<0$}", width + CELL_FRAME)?;
        for (name, cell) in names.iter().zip(row) {
            writeln!(out, "{} | {cell}", padded(name, width))?;
        }
    }
    Ok(())
}

/// The widths of columns that want these, in a table no wider than `room`; nothing if they are too many for that.
pub(crate) fn fit(wanted: &[usize], room: usize) -> Option<Vec<usize>> {
    let room = room.checked_sub(wanted.len() * CELL_FRAME + 1)?;
    let taken = |most: usize| wanted.iter().map(|width| (*width).min(most)).sum::<usize>();
    let widest = wanted.iter().copied().max().unwrap_or_default();
    if taken(widest) <= room {
        return Some(wanted.to_vec());
    }
    // The widest columns are cut first, to the same width.
    let most = (CELL_WIDTH_MIN..widest).rev().find(|most| taken(*most) <= room)?;
    Some(wanted.iter().map(|width| (*width).min(most)).collect())
}

/// A line between rows.
pub(crate) fn rule(widths: &[usize]) -> String {
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    format!("+{}+", dashes.join("+"))
}

/// A row, whose cells are cut to their columns.
pub(crate) fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a Cow<'a, str>>) -> String {
    let cells: Vec<String> = widths.iter().zip(cells).map(|(width, cell)| padded(&cut(cell, *width), *width)).collect();
    format!("| {} |", cells.join(" | "))
}

/// A text that is at least so wide.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut room = width.saturating_sub(1);
    let mut kept = String::new();
    for char in text.chars() {
        let Some(left) = room.checked_sub(char.width().unwrap_or_default()) else { break };
        room = left;
        kept.push(char);
    }
    kept.push(CUT);
    Cow::Owned(kept)
}

fn printable_cells(cells: &[String]) -> Vec<Cow<'_, str>> {
    cells.iter().map(|cell| printable(cell)).collect()
}

/// A text without what a terminal would obey: data are shown, and do nothing.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(names: &[&str], rows: &[&[&str]], room: usize, expected: Expect) {
        let owned = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<String>>();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| owned(row)).collect();
        let mut out = Vec::new();
        write(&mut out, &owned(names), &rows, room).unwrap();
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn the_widest_cells_are_cut_first() {
        let rows: &[&[&str]] = &[&["1", "a name that is long", "and a comment that is longer"], &["2", "short", ""]];
        check(
            &["id", "name", "comment"],
            rows,
            80,
            expect![[r#"
                +----+---------------------+------------------------------+
                | id | name                | comment                      |
                +----+---------------------+------------------------------+
                | 1  | a name that is long | and a comment that is longer |
                | 2  | short               |                              |
                +----+---------------------+------------------------------+
            "#]],
        );
        check(
            &["id", "name", "comment"],
            rows,
            40,
            expect![[r#"
                +----+----------------+----------------+
                | id | name           | comment        |
                +----+----------------+----------------+
                | 1  | a name that i… | and a comment… |
                | 2  | short          |                |
                +----+----------------+----------------+
            "#]],
        );
    }

    #[test]
    fn wide_characters_take_two_columns_and_data_move_no_cursor() {
        check(
            &["what"],
            &[&["東京タワー"], &["日本"], &["a\x1b[2Jb\n"], &["é"]],
            12,
            expect![[r#"
                +----------+
                | what     |
                +----------+
                | 東京タ…  |
                | 日本     |
                | a\u{1b}… |
                | é        |
                +----------+
            "#]],
        );
    }

    #[test]
    fn where_columns_are_too_many_each_value_has_a_line() {
        check(
            &["first", "second", "third"],
            &[&["1234567890", "two", "three of them, and whole"], &["4", "NULL", ""]],
            20,
            expect![[r#"
                -[ 1 ]---
                first  | 1234567890
                second | two
                third  | three of them, and whole
                -[ 2 ]---
                first  | 4
                second | NULL
                third  | 
            "#]],
        );
    }
}
