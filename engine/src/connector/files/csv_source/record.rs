//! Cuts records into fields, and follows quotes through text that is not cut.
//!
//! The rules are those of RFC 4180 as most readers have them: `\r`, `\n` and both end a record, empty
//! lines are none. A quote is one at the beginning of a field only; within quotes, two stand for one.
//! What stands between a closing quote and the end of its field belongs to the field.

use memchr::memchr;

/// How fields are parted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    pub(super) delimiter: u8,
}

/// Where a field's bytes are: in the text, or among the unescaped ones.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Marks the beginning of what is among the unescaped bytes. A text is shorter than this.
    const UNESCAPED: u32 = 1 << 31;

    fn of_text(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    fn of_unescaped(start: usize, end: usize) -> Self {
        Self { start: start as u32 | Self::UNESCAPED, end: end as u32 }
    }

    fn bytes<'a>(self, text: &'a [u8], unescaped: &'a [u8]) -> &'a [u8] {
        let (from, start) = if self.start & Self::UNESCAPED == 0 {
            (text, self.start)
        } else {
            (unescaped, self.start & !Self::UNESCAPED)
        };
        &from[start as usize..self.end as usize]
    }
}

impl Syntax {
    /// Cuts the record that begins at `start`; `field` is called for each of its fields. Where it ends, or
    /// `None` if the text ends first and is not the last one.
    fn cut(
        self,
        text: &[u8],
        start: usize,
        is_last: bool,
        unescaped: &mut Vec<u8>,
        mut field: impl FnMut(Span),
    ) -> Option<usize> {
        let mut from = start;
        loop {
            let (span, end) = if text.get(from) == Some(&b'"') {
                self.cut_quoted(text, from + 1, is_last, unescaped)?
            } else {
                let end = self.field_end(text, from);
                (Span::of_text(from, end), end)
            };
            if end == text.len() {
                return is_last.then(|| {
                    field(span);
                    end
                });
            }
            field(span);
            from = end + 1;
            if text[end] != self.delimiter {
                return Some(from);
            }
        }
    }

    /// Cuts a field in quotes, the first of which is before `start`; also says what index ends it.
    fn cut_quoted(self, text: &[u8], start: usize, is_last: bool, unescaped: &mut Vec<u8>) -> Option<(Span, usize)> {
        let unescaped_start = unescaped.len();
        let mut from = start;
        loop {
            let Some(quote) = memchr(b'"', &text[from..]).map(|found| from + found) else {
                // Nobody closes the quotes: all that follows is in them.
                unescaped.extend_from_slice(&text[from..]);
                return is_last.then(|| (Span::of_unescaped(unescaped_start, unescaped.len()), text.len()));
            };
            if text.get(quote + 1) == Some(&b'"') {
                unescaped.extend_from_slice(&text[from..=quote]);
                from = quote + 2;
                continue;
            }
            let end = self.field_end(text, quote + 1);
            if end == quote + 1 && from == start {
                return Some((Span::of_text(start, quote), end));
            }
            unescaped.extend_from_slice(&text[from..quote]);
            unescaped.extend_from_slice(&text[quote + 1..end]);
            return Some((Span::of_unescaped(unescaped_start, unescaped.len()), end));
        }
    }

    /// The first delimiter or line end, or the text's end. Looks at eight bytes at a time.
    fn field_end(self, text: &[u8], from: usize) -> usize {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
        // The lowest high bit that is set is that of the first byte that is zero.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let wanted = [self.delimiter, b'\n', b'\r'].map(|byte| ONES * u64::from(byte));
        let mut chunks = text[from..].chunks_exact(8);
        let mut at = from;
        for chunk in chunks.by_ref() {
            let word = chunk.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
            let found = wanted.iter().fold(0, |found, wanted| found | zeros(word ^ wanted));
            if found != 0 {
                return at + found.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        let is_end = |byte: &u8| *byte == self.delimiter || matches!(byte, b'\n' | b'\r');
        at + chunks.remainder().iter().position(is_end).unwrap_or(chunks.remainder().len())
    }
}

/// The fields of one record.
#[derive(Debug, Default)]
pub(super) struct Fields {
    spans: Vec<Span>,
    unescaped: Vec<u8>,
}

impl Fields {
    /// Takes the fields of a record; see [`Records::cut`].
    pub(super) fn cut(&mut self, syntax: Syntax, text: &[u8], start: usize, is_last: bool) -> Option<usize> {
        self.spans.clear();
        self.unescaped.clear();
        syntax.cut(text, start, is_last, &mut self.unescaped, |span| self.spans.push(span))
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn iter<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.spans.iter().map(|span| span.bytes(text, &self.unescaped))
    }
}

/// A record that has not as many fields as a row has.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) start: usize,
    pub(super) fields: Fields,
}

/// Records of a text, and where the wanted ones of their fields are.
#[derive(Debug)]
pub(super) struct Records {
    /// For each field of a row, which of the wanted columns it is.
    slots: Vec<Option<usize>>,
    columns: usize,
    /// The wanted fields, row by row.
    spans: Vec<Span>,
    /// Where each row begins.
    starts: Vec<u32>,
    unescaped: Vec<u8>,
    /// Records that are no rows.
    pub(super) bad: Vec<BadLine>,
}

impl Records {
    /// None yet, of `width` fields each, of which those at `columns` are wanted.
    pub(super) fn new(columns: &[usize], width: usize) -> Self {
        let mut slots = vec![None; width];
        for (slot, column) in columns.iter().enumerate() {
            slots[*column] = Some(slot);
        }
        let (spans, starts, unescaped, bad) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { slots, columns: columns.len(), spans, starts, unescaped, bad }
    }

    pub(super) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Rows and others.
    pub(super) fn lines(&self) -> usize {
        self.starts.len() + self.bad.len()
    }

    /// Where a row begins in the text.
    pub(super) fn start(&self, row: usize) -> usize {
        self.starts[row] as usize
    }

    /// Takes the record that begins at `start`. Where it ends, or `None` if the text ends first and is
    /// not the last one.
    pub(super) fn cut(&mut self, syntax: Syntax, text: &[u8], start: usize, is_last: bool) -> Option<usize> {
        let (first, unescaped) = (self.spans.len(), self.unescaped.len());
        self.spans.resize(first + self.columns, Span::default());
        let (spans, slots) = (&mut self.spans[first..], &self.slots);
        let mut fields = 0;
        let end = syntax.cut(text, start, is_last, &mut self.unescaped, |span| {
            if let Some(Some(slot)) = slots.get(fields) {
                spans[*slot] = span;
            }
            fields += 1;
        });
        if end.is_some() && fields == self.slots.len() {
            self.starts.push(start as u32);
            return end;
        }
        self.spans.truncate(first);
        self.unescaped.truncate(unescaped);
        if end.is_some() {
            let mut fields = Fields::default();
            fields.cut(syntax, text, start, is_last);
            self.bad.push(BadLine { start, fields });
        }
        end
    }

    /// One of the wanted columns.
    pub(super) fn column<'a>(&'a self, text: &'a [u8], column: usize) -> ColumnText<'a> {
        ColumnText { records: self, text, column }
    }
}

/// The texts of a column.
pub(super) struct ColumnText<'a> {
    records: &'a Records,
    text: &'a [u8],
    column: usize,
}

impl<'a> ColumnText<'a> {
    pub(super) fn len(&self) -> usize {
        self.records.rows()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let ColumnText { records, text, column } = *self;
        let spans = records.spans.iter().skip(column).step_by(records.columns.max(1));
        spans.map(|span| span.bytes(text, &records.unescaped))
    }
}

/// Follows quotes from the beginning of a record on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quotes {
    delimiter: u8,
    state: QuoteState,
    /// The byte before.
    before: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QuoteState {
    Outside,
    Inside,
    /// Behind a quote in quotes: they end here, unless another one follows.
    Closing,
}

impl Quotes {
    pub(super) fn new(syntax: Syntax) -> Self {
        Self { delimiter: syntax.delimiter, state: QuoteState::Outside, before: b'\n' }
    }

    /// Whether a record begins here.
    pub(super) fn is_record_start(&self) -> bool {
        self.state == QuoteState::Outside && is_line_end(self.before)
    }

    fn step(&mut self, byte: u8) {
        let begins_field = self.before == self.delimiter || is_line_end(self.before);
        self.state = match (self.state, byte) {
            (QuoteState::Inside, b'"') => QuoteState::Closing,
            (QuoteState::Closing, b'"') => QuoteState::Inside,
            (QuoteState::Closing, _) => QuoteState::Outside,
            (QuoteState::Outside, b'"') if begins_field => QuoteState::Inside,
            (state, _) => state,
        };
        self.before = byte;
    }

    /// Goes through a text.
    pub(super) fn skip(&mut self, text: &[u8]) {
        let mut from = 0;
        while from < text.len() {
            if self.state == QuoteState::Closing {
                self.step(text[from]);
                from += 1;
                continue;
            }
            let Some(quote) = memchr(b'"', &text[from..]).map(|found| from + found) else { break };
            if quote > from {
                self.before = text[quote - 1];
            }
            self.step(b'"');
            from = quote + 1;
        }
        if let Some(last) = text.last() {
            self.before = *last;
        }
    }

    /// Goes on to the end of the record; where that is, if it is in the text.
    pub(super) fn record_end(&mut self, text: &[u8]) -> Option<usize> {
        for (index, byte) in text.iter().enumerate() {
            self.step(*byte);
            if self.is_record_start() {
                return Some(index + 1);
            }
        }
        None
    }
}

pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
