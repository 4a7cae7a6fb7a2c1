//! Where statements end in what is typed: at a semicolon that stands in no text, name or comment.

/// What has been read of statements so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatementEnd {
    within: Within,
    /// Whether the last thing that was said is a semicolon.
    is_at_end: bool,
    /// Whether anything has been said.
    has_begun: bool,
}

/// What the next character belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Code,
    /// A text or a name, up to this quote.
    Quotes(char),
    /// A comment up to the end of the line.
    LineComment,
    /// So many comments within each other.
    Comment(u32),
}

impl StatementEnd {
    /// After all of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut end = Self::default();
        end.read(text);
        end
    }

    /// Reads on. A line is read as a whole.
    pub(super) fn read(&mut self, text: &str) {
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let next = chars.peek().copied();
            let (within, takes_next) = self.within.then(char, next);
            if takes_next {
                chars.next();
            }
            let says = self.within == Within::Code && within == Within::Code && !char.is_whitespace();
            if says || matches!(within, Within::Quotes(_)) {
                self.is_at_end = char == ';' && within == Within::Code;
                self.has_begun |= !self.is_at_end;
            }
            self.within = within;
        }
    }

    /// Whether the statements that were read are complete.
    pub(super) fn is_complete(self) -> bool {
        self.is_at_end && matches!(self.within, Within::Code | Within::LineComment)
    }

    /// Whether nothing was said but perhaps comments, and none of these is open.
    pub(super) fn is_blank(self) -> bool {
        !self.has_begun && matches!(self.within, Within::Code | Within::LineComment)
    }

    /// Whether the next character belongs to a text or a comment.
    pub(super) fn is_within_text(self) -> bool {
        self.within != Within::Code
    }
}

impl Within {
    /// What what follows a character belongs to, and whether the character after it is read with it.
    fn then(self, char: char, next: Option<char>) -> (Self, bool) {
        match (self, char, next) {
            (Self::Code, '\'' | '"', _) => (Self::Quotes(char), false),
            (Self::Code, '-', Some('-')) => (Self::LineComment, true),
            (Self::Code, '/', Some('*')) => (Self::Comment(1), true),
            (Self::LineComment, '\n', _) => (Self::Code, false),
            // A quote that is written twice ends the text, and begins it again.
            (Self::Quotes(quote), char, _) if char == quote => (Self::Code, false),
            (Self::Comment(depth), '/', Some('*')) => (Self::Comment(depth + 1), true),
            (Self::Comment(1), '*', Some('/')) => (Self::Code, true),
            (Self::Comment(depth), '*', Some('/')) => (Self::Comment(depth - 1), true),
            (within, ..) => (within, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_unless_it_is_quoted() {
        for complete in [
            "SELECT 1;",
            "SELECT 1 ; \n",
            "SELECT ';';",
            "SELECT 'it''s';",
            "SELECT 1; -- and no more",
            "SELECT 1; /* none; */",
            "a /* b /* c */ ; */ d;",
            "SELECT \"a;\";",
            "SELECT 1 -- ';\n;",
        ] {
            assert!(StatementEnd::of(complete).is_complete(), "{complete}");
        }
        for open in [
            "",
            "SELECT 1",
            "SELECT ';",
            "SELECT ';'",
            "SELECT 1 -- ;",
            "SELECT 1 /* ; ",
            "SELECT 1; SELECT 2",
            "SELECT \";",
            "SELECT 1; 'a'",
            "SELECT 1; /* more",
        ] {
            assert!(!StatementEnd::of(open).is_complete(), "{open}");
        }
    }

    #[test]
    fn comments_say_nothing() {
        assert!(StatementEnd::of("  -- a;\n /* b; */\n").is_blank());
        assert!(!StatementEnd::of("/* b").is_blank());
        assert!(!StatementEnd::of("''").is_blank());
        let mut end = StatementEnd::default();
        ["SELECT /*\n", "; */ 'a\n", "b';\n"].iter().for_each(|line| end.read(line));
        assert!(end.is_complete());
    }
}
