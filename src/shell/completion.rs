//! What Tab offers: commands, keywords, and the names of the catalog that fit where the cursor is.

use super::command::COMMANDS;
use super::statement_end::StatementEnd;

/// The words of statements. Functions are in the catalog.
const KEYWORDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "ASOF",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CHECKPOINTS",
    "COLUMN",
    "CONNECTOR",
    "CONNECTORS",
    "CREATE",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DROP",
    "ELSE",
    "EMIT",
    "END",
    "EVERY",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FOLLOWING",
    "FOR",
    "FORMAT",
    "FROM",
    "FULL",
    "FUNCTION",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOB",
    "JOBS",
    "JOIN",
    "JSON",
    "KEY",
    "LATE",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "MIGRATION",
    "MODEL",
    "MODELS",
    "NOT",
    "NULL",
    "NULLS",
    "OF",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "PRIMARY",
    "PROCTIME",
    "QUALIFY",
    "RANGE",
    "REPLACE",
    "RETURN",
    "RETURNS",
    "RIGHT",
    "ROWS",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SINK",
    "SINKS",
    "SOURCE",
    "SOURCES",
    "STOP",
    "SYSTEM_TIME",
    "TABLE",
    "TABLES",
    "THEN",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNNEST",
    "UPDATE",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHIN",
];

/// The words that a name of an object follows.
const BEFORE_OBJECTS: &[&str] = &["FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "MODEL", "VIEW", "SINK", "SOURCE"];

/// What the catalog has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Sources, views, sinks and models, with their columns.
    pub(super) objects: Vec<(String, Vec<String>)>,
    pub(super) functions: Vec<String>,
}

/// Where the word begins that the cursor is behind, and what it may become.
pub(super) fn complete(text: &str, cursor: usize, names: &Names) -> (usize, Vec<String>) {
    let before = text.get(..cursor).unwrap_or(text);
    let start = before.char_indices().rev().take_while(|(_, char)| is_of_word(*char)).last();
    let start = start.map_or(before.len(), |(at, _)| at);
    let (said, word) = before.split_at(start);
    let mut found = match said.trim_start().strip_prefix('\\') {
        // The backslash belongs to the word only where it is all that was said before it.
        Some("") => return (start - 1, fitting(COMMANDS.iter().copied(), &format!("\\{word}"))),
        Some(command) if command.trim_end() == "d" => fitting(objects(names), word),
        Some(_) => Vec::new(),
        None if StatementEnd::of(said).is_within_text() => Vec::new(),
        None => words(text, said, word, names),
    };
    found.sort_unstable();
    found.dedup();
    (start, found)
}

fn words(text: &str, said: &str, word: &str, names: &Names) -> Vec<String> {
    // No name begins a statement, and one that looks like a keyword would be in its way.
    if said.trim_end().is_empty() || said.trim_end().ends_with(';') {
        return keywords(word);
    }
    let last = said.trim_end().rsplit(|char: char| !is_of_word(char)).next().unwrap_or_default();
    if said.ends_with(char::is_whitespace) && BEFORE_OBJECTS.iter().any(|before| last.eq_ignore_ascii_case(before)) {
        let mut found = fitting(objects(names), word);
        // A function or IF EXISTS may follow as well, but an object is what is mostly meant.
        if found.is_empty() {
            found = keywords(word);
            found.extend(functions(word, names));
        }
        return found;
    }
    if let Some((qualifier, column)) = word.rsplit_once('.') {
        let of_object = names.objects.iter().filter(|(name, _)| name.eq_ignore_ascii_case(qualifier));
        let columns = of_object.flat_map(|(_, columns)| columns.iter().map(String::as_str));
        let found = fitting(columns, column).into_iter().map(|column| format!("{qualifier}.{column}"));
        return found.chain(functions(word, names)).collect();
    }
    let mut found = keywords(word);
    found.extend(fitting(objects(names), word));
    found.extend(fitting(columns(text, names), word));
    found.extend(functions(word, names));
    found
}

/// The functions that a word may become, in capital letters if it is: what it has in common with keywords is completed.
fn functions(word: &str, names: &Names) -> Vec<String> {
    let found = fitting(names.functions.iter().map(String::as_str), word).into_iter().map(|name| name + "(");
    match word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase) {
        true => found.map(|name| name.to_uppercase()).collect(),
        false => found.collect(),
    }
}

/// The columns of the objects that a text names, or of all if it names none.
fn columns<'a>(text: &'a str, names: &'a Names) -> impl Iterator<Item = &'a str> {
    let is_named = move |name: &str| text.split(|char| !is_of_word(char)).any(|word| word.eq_ignore_ascii_case(name));
    let any = names.objects.iter().any(|(name, _)| is_named(name));
    let objects = names.objects.iter().filter(move |(name, _)| !any || is_named(name));
    objects.flat_map(|(_, columns)| columns.iter().map(String::as_str))
}

fn objects(names: &Names) -> impl Iterator<Item = &str> {
    names.objects.iter().map(|(name, _)| name.as_str())
}

/// The keywords that a word may become, in small letters if it is.
fn keywords(word: &str) -> Vec<String> {
    let found = fitting(KEYWORDS.iter().copied(), word);
    match word.chars().any(char::is_lowercase) {
        true => found.iter().map(|keyword| keyword.to_lowercase()).collect(),
        false => found,
    }
}

/// What begins with a word, in letters of either case.
fn fitting<'a>(candidates: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
    let fits =
        |candidate: &&str| candidate.get(..word.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(word));
    candidates.filter(fits).map(str::to_owned).collect()
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '.' | '?')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let object = |name: &str, columns: &[&str]| {
            (name.to_owned(), columns.iter().map(|column| (*column).to_owned()).collect())
        };
        Names {
            objects: vec![
                object("bids", &["auction", "price"]),
                object("auctions", &["id", "seller"]),
                object("Größe", &["länge"]),
            ],
            functions: ["avg", "sum", "substr", "ml.predict"].map(String::from).to_vec(),
        }
    }

    /// What a text may become whose cursor stands at the bar.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (before, behind) = text.split_once('|').unwrap();
        let text = format!("{before}{behind}");
        let (start, found) = complete(&text, before.len(), &names());
        let offered: Vec<String> = found.iter().map(|found| format!("{}{found}", &before[..start])).collect();
        assert_eq!(offered, expected);
    }

    #[test]
    fn words_become_what_fits_where_they_are() {
        check("SEL|", &["SELECT"]);
        check("sel|", &["select"]);
        check("SELECT 1; sel|", &["SELECT 1; select"]);
        check("SELECT su|", &["SELECT substr(", "SELECT sum("]);
        check("SELECT SU|", &["SELECT SUBSTR(", "SELECT SUM("]);
        check("SELECT * FROM |", &["SELECT * FROM Größe", "SELECT * FROM auctions", "SELECT * FROM bids"]);
        check("SELECT * FROM b|", &["SELECT * FROM bids"]);
        check("SELECT\n  pri| FROM bids", &["SELECT\n  price", "SELECT\n  primary"]);
        check("SELECT s| FROM auctions", {
            &[
                "SELECT savepoint",
                "SELECT select",
                "SELECT seller",
                "SELECT set",
                "SELECT show",
                "SELECT sink",
                "SELECT sinks",
                "SELECT source",
                "SELECT sources",
                "SELECT stop",
                "SELECT substr(",
                "SELECT sum(",
                "SELECT system_time",
            ]
        });
        check("SELECT bids.p|", &["SELECT bids.price"]);
        check("SELECT BIDS.|", &["SELECT BIDS.auction", "SELECT BIDS.price"]);
        check("SELECT * FROM ml.|", &["SELECT * FROM ml.predict("]);
        check("SELECT lä| FROM Größe", &["SELECT länge"]);
        check("DROP VIEW IF| ", &["DROP VIEW IF"]);
        check("SELECT 'sel|", &[]);
        check("SELECT 1 -- sel|", &[]);
        check("zzz|", &[]);
    }

    #[test]
    fn commands_are_completed_and_what_they_take() {
        check("\\|", &["\\?", "\\d", "\\i", "\\q", "\\timing", "\\watch", "\\x"]);
        check("\\t|", &["\\timing"]);
        check("\\d au|", &["\\d auctions"]);
        check("\\watch 1|", &[]);
    }
}
