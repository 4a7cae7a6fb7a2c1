//! From places in a script, which the tokens have, to its bytes.
//!
//! Places are asked for in their order, so the script is gone through once: from its start each time, a script of many
//! statements would take its length times their number.

use datafusion::sql::sqlparser::tokenizer::Location;

/// A script, and how far it was gone through.
pub(super) struct Places<'a> {
    sql: &'a str,
    byte: usize,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Self { sql, byte: 0, line: 1, column: 1 }
    }

    /// The text between two places, without the space behind it; to the end of the script if the second is not known.
    pub(super) fn slice(&mut self, start: Location, end: Location) -> &'a str {
        let from = self.byte_of(start);
        let to = if end.line == 0 { self.sql.len() } else { self.byte_of(end) };
        self.sql.get(from..to.max(from)).unwrap_or_default().trim_end()
    }

    /// The byte at a place that is not before the one that was asked for last. sqlparser ends lines at `\n` only and
    /// counts columns in characters.
    fn byte_of(&mut self, place: Location) -> usize {
        for ch in self.sql[self.byte..].chars() {
            if (self.line, self.column) == (place.line, place.column) {
                break;
            }
            self.byte += ch.len_utf8();
            (self.line, self.column) = if ch == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.byte
    }
}
