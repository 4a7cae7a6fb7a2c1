//! Every connector's options, declared once: the planner checks a WITH clause against them, SHOW
//! CONNECTORS prints them, and the engine's connectors read them.

use crate::error::{PlanError, Result};

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number, not negative.
    Integer,
    /// true or false.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One option of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its key in the WITH clause.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// Whether it must be given.
    pub required: bool,
    /// What it does, a sentence.
    pub doc: &'static str,
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
    /// Options when it writes; `None` if it cannot.
    pub sink: Option<&'static [OptionSpec]>,
    /// Whether a sink takes updates and deletes, not only inserts.
    pub sink_takes_changes: bool,
}

const fn option(name: &'static str, kind: OptionKind, required: bool, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, required, doc }
}

const SOURCE_FORMATS: OptionKind = OptionKind::OneOf(&["parquet", "csv", "json"]);
const SINK_FORMATS: OptionKind = OptionKind::OneOf(&["parquet", "csv", "json"]);

/// All connectors.
pub const CONNECTORS: &[ConnectorSpec] = &[
    ConnectorSpec {
        name: "files",
        doc: "Files on local disk.",
        source: Some(&[
            option("path", OptionKind::Text, true, "A file, a folder, or a glob; relative to the working folder."),
            option("format", SOURCE_FORMATS, true, "How the files are encoded."),
            option("header", OptionKind::Boolean, false, "CSV: whether the first line names the columns (true)."),
            option("delimiter", OptionKind::Text, false, "CSV: the character between fields (,)."),
            option("null_value", OptionKind::Text, false, "CSV: the text that stands for NULL (nothing)."),
            option("rows_per_second", OptionKind::Integer, false, "Replays at this pace, each subtask its share."),
            option(
                "null_event_time",
                OptionKind::OneOf(&["dead_letter", "skip"]),
                false,
                "Rows without an event time go to the dead letters, or are counted and skipped (dead_letter).",
            ),
        ]),
        sink: Some(&[
            option("path", OptionKind::Text, true, "The folder to write part files to; made if it does not exist."),
            option("format", SINK_FORMATS, true, "How the files are encoded."),
        ]),
        sink_takes_changes: false,
    },
    ConnectorSpec {
        name: "print",
        doc: "Rows on standard output, as they come.",
        source: None,
        sink: Some(&[]),
        sink_takes_changes: true,
    },
    ConnectorSpec {
        name: "blackhole",
        doc: "Nowhere; rows are counted.",
        source: None,
        sink: Some(&[]),
        sink_takes_changes: true,
    },
];

/// The connector that carries the result of a SELECT to the session. Users cannot name it.
pub const RESULT_CONNECTOR: &str = "result";

/// Options that every source takes whatever its connector.
pub const COMMON_OPTIONS: &[&str] = &["connector"];

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into Tidemill.
    Source,
    /// Out of Tidemill.
    Sink,
}

/// The connector of this name.
pub fn find(name: &str) -> Result<&'static ConnectorSpec> {
    CONNECTORS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let valid: Vec<&str> = CONNECTORS.iter().map(|spec| spec.name).collect();
        PlanError::InvalidOption(format!("unknown connector '{name}'; valid are: {}", valid.join(", ")))
    })
}

/// Checks `options` (without `connector`) against what the connector declares.
pub fn check_options(connector: &str, direction: Direction, options: &[(String, String)]) -> Result<()> {
    let spec = find(connector)?;
    let (declared, what) = match direction {
        Direction::Source => (spec.source, "source"),
        Direction::Sink => (spec.sink, "sink"),
    };
    let declared = declared
        .ok_or_else(|| PlanError::InvalidOption(format!("connector '{connector}' cannot be used as a {what}")))?;
    for (key, value) in options {
        let Some(option) = declared.iter().find(|option| option.name == key) else {
            let valid: Vec<&str> = declared.iter().map(|option| option.name).collect();
            let valid = if valid.is_empty() { String::from("it takes none") } else { valid.join(", ") };
            return Err(PlanError::InvalidOption(format!(
                "unknown option '{key}' of {what} connector '{connector}'; valid are: {valid}"
            )));
        };
        check_value(option, value)?;
    }
    match declared.iter().find(|option| option.required && !options.iter().any(|(key, _)| key == option.name)) {
        Some(missing) => Err(PlanError::InvalidOption(format!(
            "{what} connector '{connector}' needs the option '{}': {}",
            missing.name, missing.doc
        ))),
        None => Ok(()),
    }
}

fn check_value(option: &OptionSpec, value: &str) -> Result<()> {
    let wanted = match option.kind {
        OptionKind::Text => return Ok(()),
        OptionKind::Integer if value.parse::<u64>().is_ok() => return Ok(()),
        OptionKind::Boolean if matches!(value, "true" | "false") => return Ok(()),
        OptionKind::OneOf(words) if words.contains(&value) => return Ok(()),
        OptionKind::Integer => String::from("a whole number"),
        OptionKind::Boolean => String::from("true or false"),
        OptionKind::OneOf(words) => format!("one of {}", words.join(", ")),
    };
    Err(PlanError::InvalidOption(format!("option '{}' is '{value}', but takes {wanted}", option.name)))
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
        assert!(check("kafkka", Direction::Source, &[]).contains("files, print, blackhole"));
        assert!(check("print", Direction::Source, &[]).contains("cannot be used as a source"));
        assert!(check("files", Direction::Sink, &[("pth", "x")]).contains("valid are: path, format"));
        assert!(check("files", Direction::Sink, &[("path", "x")]).contains("needs the option 'format'"));
        assert!(check("files", Direction::Sink, &[("path", "x"), ("format", "orc")]).contains("one of parquet"));
        assert_eq!(check("files", Direction::Sink, &[("path", "x"), ("format", "csv")]), "");
    }
}
