//! Where in a statement an error is: the line of it, and a caret below.

use unicode_width::UnicodeWidthStr;

use crate::table::printable;

/// What stands in front of the line and the caret.
const INDENT: &str = "  ";

/// What to show below a message that begins with a position in this text; nothing if it does not.
pub(super) fn marked(text: &str, message: &str) -> Option<String> {
    let (line, column) = position(message)?;
    let line = printable(text.lines().nth(line.checked_sub(1)?)?).into_owned();
    let before: String = line.chars().take(column.checked_sub(1)?).collect();
    Some(format!("{INDENT}{line}\n{INDENT}{}^", " ".repeat(before.width())))
}

/// The line and the column that a message begins with, both counted from 1.
fn position(message: &str) -> Option<(usize, usize)> {
    let rest = message.strip_prefix("line ")?;
    let (line, rest) = rest.split_once(", column ")?;
    let (column, _) = rest.split_once(": ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_what_is_wrong() {
        let text = "SELECT a,\n  '東京', nothing\nFROM t;";
        let marked = |message| marked(text, message);
        assert_eq!(
            marked("line 2, column 9: there is no column 'nothing'").as_deref(),
            Some("    '東京', nothing\n            ^")
        );
        // Behind the end, where more was expected.
        assert_eq!(marked("line 3, column 8: and then?").as_deref(), Some("  FROM t;\n         ^"));
        for elsewhere in ["job-1 is not running", "line 9, column 1: x", "line 0, column 0: x", "line x, column 1: x"] {
            assert_eq!(marked(elsewhere), None);
        }
    }
}
