//! Every connector's options, declared once: the planner checks a WITH clause against them, SHOW
//! CONNECTORS prints them, and the engine's connectors read them.

pub mod datagen;
mod declared;
mod startup;

pub use declared::{CONNECTORS, SOURCE_OPTIONS};
pub use startup::{STARTUP_MODE_OPTION, StartupMode};

use std::fmt;

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};

use crate::error::{PlanError, Result};
use crate::settings::parse_duration_ms;
use crate::time::EventTime;

/// What tells the files of an INSERT into a sink of files from those of others, in the order of INSERTs. Nobody writes it:
/// whoever runs the INSERT gives a number that no other has.
pub const INSERT_OPTION: &str = "insert";

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number of at least 1.
    Count,
    /// A whole number of at least 0.
    Number,
    /// true or false.
    Boolean,
    /// What stands between fields; see [`delimiter`].
    Delimiter,
    /// A length of time such as `30s`, or 0.
    Duration,
    /// A length of time such as `30s`, of at least a millisecond.
    Interval,
    /// A point in time; see [`timestamp`].
    Timestamp,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Count => "a whole number from 1 on",
            Self::Number => "a whole number from 0 on",
            Self::Boolean => "true or false",
            Self::Delimiter => "a character",
            Self::Timestamp => "a timestamp",
            Self::Duration | Self::Interval => "a duration",
            Self::OneOf(words) => return f.write_str(&words.join(", ")),
        })
    }
}

/// One option of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its key in the WITH clause; `<column>` in it stands for any column's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// Whether it must be given.
    pub required: bool,
    /// The value that it has where it is not given; `None` if that is not a value.
    pub default: Option<&'static str>,
    /// The only value of the option `format` with which it does anything; `None` for any.
    pub format: Option<&'static str>,
    /// What it does, a sentence.
    pub doc: &'static str,
}

impl OptionSpec {
    /// The column that a key of this option names, if the option is one of columns.
    #[must_use]
    pub fn column_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (before, after) = self.name.split_once("<column>")?;
        key.strip_prefix(before)?.strip_suffix(after).filter(|column| !column.is_empty())
    }

    fn is_named(&self, key: &str) -> bool {
        self.name == key || self.column_of(key).is_some()
    }

    const fn required(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, required: true, default: None, format: None, doc }
    }

    const fn optional(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { required: false, ..Self::required(name, kind, doc) }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn of_format(self, format: &'static str) -> Self {
        Self { format: Some(format), ..self }
    }
}

/// Whether a source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// It always does.
    Always,
    /// It does if one of these options is given.
    With(&'static [&'static str]),
    /// It does unless one of these options is given.
    Without(&'static [&'static str]),
}

/// Columns that a connector knows of itself: nobody needs to declare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownTable {
    /// The value of the option `table` that chooses it.
    pub name: &'static str,
    /// Its columns, of which none is ever NULL.
    pub columns: &'static [KnownColumn],
}

/// A column that a connector knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub data_type: DataType,
}

/// A connector as the planner knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectorSpec {
    /// The value of `connector=`.
    pub name: &'static str,
    /// What it is, a sentence.
    pub doc: &'static str,
    /// Options when it reads; `None` if it cannot.
    pub source: Option<&'static [OptionSpec]>,
    /// Whether what it reads ends.
    pub bounds: Bounds,
    /// Whether it makes the rows that it reads, so that they are as they are declared.
    pub makes_rows: bool,
    /// The tables that it reads, if it knows their columns.
    pub tables: &'static [KnownTable],
    /// Options when it writes; `None` if it cannot.
    pub sink: Option<&'static [OptionSpec]>,
    /// Whether a sink takes updates and deletes, not only inserts, in any format.
    pub sink_takes_changes: bool,
    /// When it is the same whatever the order of the rows and whoever writes them: then a sink has as many
    /// instances as what it reads.
    pub sink_in_parallel: InParallel,
    /// Whether a sink may have a key by which rows replace each other, in any format. With one it takes changes.
    pub sink_takes_key: bool,
}

/// When a sink may have several instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InParallel {
    /// Never.
    Never,
    /// Unless rows replace each other by key.
    WithoutKey,
    /// Always.
    Always,
}

/// The connector that carries the result of a SELECT to the session. Users cannot name it.
pub const RESULT_CONNECTOR: &str = "result";

/// The connector of materialized views: its sink holds what a view has, its source reads what one has at
/// an epoch. Users cannot name it. The source has the options `job`, `operator` (the view's sink) and
/// `epoch`, which the coordinator adds; each of its subtasks runs where the sink's subtask of its number does.
pub const VIEW_CONNECTOR: &str = "view";

/// The option of a view's source with which it goes on with the changes of what it has read.
pub const VIEW_FOLLOW: &str = "follow";

/// The connector of rows that stand in the statement itself; see [`crate::values`]. Users cannot name it.
pub const VALUES_CONNECTOR: &str = "values";

/// The connector of the versions of a model that is served: its source gives out the one that a name means, and each that it
/// comes to mean later, as the coordinator tells it. Users cannot name it. See [`crate::node::model_version_schema`]; in
/// place of the rows learnt it has how often the name has come to mean another version.
pub const MODEL_CONNECTOR: &str = "model";

/// The option of a model's source that has the name, as queries write it: see [`crate::model_reference`].
pub const MODEL_OPTION: &str = "model";

/// The option with which a model's source ends behind the first version.
pub const MODEL_ENDS: &str = "ends";

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into Tidemill.
    Source,
    /// Out of Tidemill.
    Sink,
}

/// Whether what a connector reads is as it is declared, without a look at each row.
#[must_use]
pub fn makes_rows(name: &str) -> bool {
    [VIEW_CONNECTOR, VALUES_CONNECTOR, MODEL_CONNECTOR].contains(&name) || find(name).is_ok_and(|spec| spec.makes_rows)
}

/// Whether it is a connector that statements use and nobody can name: results, materialized views, rows in the text, models.
#[must_use]
pub fn is_inner(name: &str) -> bool {
    [RESULT_CONNECTOR, VALUES_CONNECTOR, VIEW_CONNECTOR, MODEL_CONNECTOR].contains(&name)
}

/// The connector of this name.
pub fn find(name: &str) -> Result<&'static ConnectorSpec> {
    CONNECTORS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let valid: Vec<&str> = CONNECTORS.iter().map(|spec| spec.name).collect();
        let message = format!("unknown connector '{name}'; valid are: {}", valid.join(", "));
        PlanError::given_option("connector", message)
    })
}

/// Whether a source with these options ends.
pub fn is_bounded(connector: &str, options: &[(String, String)]) -> Result<bool> {
    match connector {
        VALUES_CONNECTOR => return Ok(true),
        MODEL_CONNECTOR => return Ok(option(options, MODEL_ENDS).is_some()),
        _ => {}
    }
    let declared = find(connector)?.source.unwrap_or_default();
    let is_given = |names: &[&str]| {
        let of_names = || declared.iter().filter(|option| names.contains(&option.name));
        options.iter().any(|(key, _)| of_names().any(|option| option.is_named(key)))
    };
    Ok(match find(connector)?.bounds {
        Bounds::Always => true,
        Bounds::With(names) => is_given(names),
        Bounds::Without(names) => !is_given(names),
    })
}

/// The format of files whose lines are Debezium's envelopes around rows.
const ENVELOPES: &str = "debezium-json";

/// The format of files whose lines are the last rows of keys.
const UPSERTS: &str = "upsert-json";

/// Whether a source with these options reads updates and deletes, not only inserts.
#[must_use]
pub fn reads_changes(options: &[(String, String)]) -> bool {
    matches!(format_of(options), Some(ENVELOPES | UPSERTS))
}

/// Whether a sink with these options takes updates and deletes, not only inserts.
pub fn takes_changes(connector: &str, options: &[(String, String)]) -> Result<bool> {
    Ok(find(connector)?.sink_takes_changes || matches!(format_of(options), Some(ENVELOPES | UPSERTS)))
}

/// Whether a sink, whose rows replace each other by key or do not, has as many instances as what it reads.
#[must_use]
pub fn writes_in_parallel(connector: &str, has_key: bool) -> bool {
    find(connector).is_ok_and(|spec| match spec.sink_in_parallel {
        InParallel::Never => false,
        InParallel::WithoutKey => !has_key,
        InParallel::Always => true,
    })
}

/// Whether a sink may have a key without a format that needs one.
#[must_use]
pub fn takes_key(connector: &str) -> bool {
    find(connector).is_ok_and(|spec| spec.sink_takes_key)
}

/// Whether files with these options hold the last row of each key, so that whoever reads or writes them has to
/// have one.
#[must_use]
pub fn needs_key(options: &[(String, String)]) -> bool {
    format_of(options) == Some(UPSERTS)
}

fn format_of(options: &[(String, String)]) -> Option<&str> {
    option(options, "format")
}

/// What is given for an option.
#[must_use]
pub fn option<'a>(options: &'a [(String, String)], name: &str) -> Option<&'a str> {
    options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The table that a source with these options reads, if the connector knows its columns.
pub fn known_table(connector: &str, options: &[(String, String)]) -> Result<Option<&'static KnownTable>> {
    let chosen = option(options, "table");
    Ok(find(connector)?.tables.iter().find(|table| Some(table.name) == chosen))
}

/// Checks the options of a source's columns, which are those that it declares and does not generate.
pub fn check_columns(connector: &str, options: &[(String, String)], columns: &Schema) -> Result<()> {
    let declared = find(connector)?.source.unwrap_or_default();
    for (key, _) in options {
        let column = declared.iter().find_map(|option| option.column_of(key));
        if let Some(column) = column.filter(|column| columns.column_with_name(column).is_none()) {
            let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
            let message = format!("option '{key}' names the column '{column}'; there are: {}", names.join(", "));
            return Err(PlanError::given_option(key, message));
        }
    }
    if connector == "datagen" {
        datagen::generated_rows(options)?;
        datagen::generated_columns(options, columns)?;
    }
    Ok(())
}

/// The value of an option: the one that is given, else its default.
#[must_use]
pub fn value<'a>(
    connector: &str,
    direction: Direction,
    options: &'a [(String, String)],
    name: &str,
) -> Option<&'a str> {
    option(options, name).or_else(|| {
        let spec = find(connector).ok()?;
        let declared = match direction {
            Direction::Source => spec.source,
            Direction::Sink => spec.sink,
        };
        declared?.iter().find(|option| option.name == name)?.default
    })
}

/// Checks `options` (without `connector`) against what the connector declares.
pub fn check_options(connector: &str, direction: Direction, options: &[(String, String)]) -> Result<()> {
    let spec = find(connector)?;
    let (declared, common, what) = match direction {
        Direction::Source => (spec.source, SOURCE_OPTIONS, "source"),
        Direction::Sink => (spec.sink, &[][..], "sink"),
    };
    let unfit = || PlanError::given_option("connector", format!("connector '{connector}' cannot be used as a {what}"));
    let declared = declared.ok_or_else(unfit)?;
    if direction == Direction::Source {
        startup::check(connector, options)?;
    }
    for (key, value) in options {
        check_value(find_option([declared, common], what, connector, key)?, key, value)?;
    }
    // Only now is it known that the format is one.
    for option in declared.iter().filter(|option| options.iter().any(|(key, _)| key == option.name)) {
        check_format(option, options)?;
    }
    match declared.iter().find(|option| option.required && !options.iter().any(|(key, _)| key == option.name)) {
        Some(missing) => Err(PlanError::InvalidOption(format!(
            "{what} connector '{connector}' needs the option '{}': {}",
            missing.name, missing.doc
        ))),
        None => Ok(()),
    }
}

fn find_option(
    declared: [&'static [OptionSpec]; 2],
    what: &str,
    connector: &str,
    key: &str,
) -> Result<&'static OptionSpec> {
    let options = || declared.into_iter().flatten();
    options().find(|option| option.is_named(key)).ok_or_else(|| {
        let valid: Vec<&str> = options().map(|option| option.name).collect();
        let valid = if valid.is_empty() { String::from("it takes none") } else { valid.join(", ") };
        let message = format!("unknown option '{key}' of {what} connector '{connector}'; valid are: {valid}");
        PlanError::given_option(key, message)
    })
}

fn check_value(option: &OptionSpec, key: &str, value: &str) -> Result<()> {
    let wanted = match option.kind {
        OptionKind::Text => return Ok(()),
        OptionKind::Number if value.parse::<u64>().is_ok() => return Ok(()),
        OptionKind::Timestamp => return timestamp(option.name, value).map(|_| ()),
        OptionKind::Count if value.parse::<u64>().is_ok_and(|count| count > 0) => return Ok(()),
        OptionKind::Boolean if matches!(value, "true" | "false") => return Ok(()),
        OptionKind::OneOf(words) if words.contains(&value) => return Ok(()),
        OptionKind::Duration if parse_duration_ms(value).is_some() => return Ok(()),
        OptionKind::Interval if parse_duration_ms(value).is_some_and(|millis| millis > 0) => return Ok(()),
        OptionKind::Delimiter => return delimiter(value).map(|_| ()),
        OptionKind::Count => String::from("a whole number of at least 1"),
        OptionKind::Number => String::from("a whole number of at least 0"),
        OptionKind::Boolean => String::from("true or false"),
        OptionKind::Duration => String::from("a duration such as 30s or 500ms, or 0"),
        OptionKind::Interval => String::from("a duration such as 30s or 500ms"),
        OptionKind::OneOf(words) => format!("one of {}", words.join(", ")),
    };
    let message = format!("option '{key}' is '{value}', but takes {wanted}");
    Err(PlanError::given_option(key, message))
}

/// Refuses an option that would do nothing.
fn check_format(option: &OptionSpec, options: &[(String, String)]) -> Result<()> {
    match (option.format, format_of(options)) {
        (Some(wanted), Some(given)) if given != wanted => {
            let name = option.name;
            let message =
                format!("option '{name}' belongs to the format {wanted}, but the format is {given}; leave it out");
            Err(PlanError::given_option(name, message))
        }
        _ => Ok(()),
    }
}

/// The character that a delimiter names: itself, or a tab by the two characters that stand for it.
pub fn delimiter(text: &str) -> Result<u8> {
    match text.as_bytes() {
        br"\t" => Ok(b'\t'),
        [character] if character.is_ascii() && !matches!(character, b'"' | b'\n' | b'\r') => Ok(*character),
        _ => {
            let message = format!(
                "option 'delimiter' is '{text}', but takes one ASCII character that is no quote and no line end, or \\t \
                 for a tab"
            );
            Err(PlanError::given_option("delimiter", message))
        }
    }
}

/// The point in time that an option's text names.
pub fn timestamp(option: &str, text: &str) -> Result<EventTime> {
    let time = TimestampMicrosecondType::parse(text).map(EventTime).filter(|time| time.is_valid());
    time.ok_or_else(|| {
        let message = format!("option '{option}' is '{text}', but takes a timestamp such as 2024-01-31 12:30:00");
        PlanError::given_option(option, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connector: &str, direction: Direction, options: &[(&str, &str)]) -> String {
        let options: Vec<_> = options.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        check_options(connector, direction, &options).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn errors_list_what_is_valid() {
        assert!(
            check("kafkka", Direction::Source, &[]).contains("files, nexmark, datagen, push, table, print, blackhole")
        );
        assert!(check("print", Direction::Source, &[]).contains("cannot be used as a source"));
        assert!(check("files", Direction::Sink, &[("pth", "x")]).contains("valid are: path, format"));
        assert!(check("files", Direction::Sink, &[("path", "x")]).contains("needs the option 'format'"));
        assert!(check("files", Direction::Sink, &[("path", "x"), ("format", "orc")]).contains("one of parquet"));
        assert_eq!(check("files", Direction::Sink, &[("path", "x"), ("format", "csv")]), "");
    }

    #[test]
    fn a_delimiter_is_one_ascii_character() {
        let check =
            |value: &str| check("files", Direction::Source, &[("path", "x"), ("format", "csv"), ("delimiter", value)]);
        for good in [",", "|", " ", "\t", "\\t", "\u{1}"] {
            assert_eq!(check(good), "");
        }
        for bad in ["", ",,", "\\n", "§", "\"", "\n", "\r"] {
            assert_eq!(
                check(bad),
                format!(
                    "option 'delimiter' is '{bad}', but takes one ASCII character that is no quote and no line end, \
                     or \\t for a tab"
                )
            );
        }
    }

    #[test]
    fn options_of_another_format_are_refused() {
        for (option, value) in [("header", "true"), ("delimiter", ";"), ("null_value", "NA")] {
            for format in ["parquet", "json"] {
                let options = [("path", "x"), (option, value), ("format", format)];
                assert_eq!(
                    check("files", Direction::Source, &options),
                    format!("option '{option}' belongs to the format csv, but the format is {format}; leave it out")
                );
            }
            assert_eq!(check("files", Direction::Source, &[("format", "csv"), (option, value), ("path", "x")]), "");
        }
        assert!(check("files", Direction::Source, &[("header", "true"), ("format", "orc")]).contains("'orc'"));
        assert!(check("files", Direction::Source, &[("header", "true")]).contains("needs the option 'path'"));
    }

    #[test]
    fn where_a_source_begins_is_an_option_of_those_that_have_no_end_and_a_past() {
        let files = |more: &[(&str, &str)]| {
            check("files", Direction::Source, &[&[("path", "x"), ("format", "csv")][..], more].concat())
        };
        for mode in ["earliest", "latest", "backfill"] {
            assert_eq!(files(&[("watch", "1s"), (STARTUP_MODE_OPTION, mode)]), "");
            assert_eq!(check("push", Direction::Source, &[(STARTUP_MODE_OPTION, mode)]), "");
        }
        let wrong = files(&[("watch", "1s"), (STARTUP_MODE_OPTION, "newest")]);
        assert!(wrong.contains("'newest', but takes one of earliest, latest, backfill"), "{wrong}");
        let bounded = files(&[(STARTUP_MODE_OPTION, "backfill")]);
        assert!(
            bounded.ends_with("this one ends: give the option 'watch', or leave 'scan_startup_mode' out"),
            "{bounded}"
        );
        for (connector, option) in [("table", None), ("datagen", None), ("nexmark", Some(("table", "bid")))] {
            let options: Vec<(&str, &str)> = option.into_iter().chain([(STARTUP_MODE_OPTION, "latest")]).collect();
            let refused = check(connector, Direction::Source, &options);
            assert!(refused.contains(&format!("connector '{connector}' has none of these")), "{refused}");
        }
        let sink =
            check("files", Direction::Sink, &[("path", "x"), ("format", "csv"), (STARTUP_MODE_OPTION, "latest")]);
        assert!(sink.starts_with("unknown option 'scan_startup_mode' of sink"), "{sink}");
    }

    #[test]
    fn a_pace_of_nothing_is_refused() {
        let check =
            |rate| check("files", Direction::Source, &[("path", "x"), ("format", "csv"), ("rows_per_second", rate)]);
        for bad in ["0", "-1", "fast", "1.5"] {
            assert!(check(bad).contains("takes a whole number of at least 1"), "{}", check(bad));
        }
        assert_eq!(check("1"), "");
    }
}
