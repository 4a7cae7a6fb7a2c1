//! Every connector's options, declared once: the planner checks a WITH clause against them, SHOW
//! CONNECTORS prints them, and the engine's connectors read them.

use crate::error::{PlanError, Result};
use crate::settings::parse_duration_ms;

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number of at least 1.
    Count,
    /// true or false.
    Boolean,
    /// What stands between fields; see [`delimiter`].
    Delimiter,
    /// A length of time such as `30s`, or 0.
    Duration,
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
    /// The only value of the option `format` with which it does anything; `None` for any.
    pub format: Option<&'static str>,
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
    OptionSpec { name, kind, required, format: None, doc }
}

const fn csv_option(name: &'static str, kind: OptionKind, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind, required: false, format: Some("csv"), doc }
}

const FORMATS: OptionKind = OptionKind::OneOf(&["parquet", "csv", "json"]);

/// All connectors.
pub const CONNECTORS: &[ConnectorSpec] = &[
    ConnectorSpec {
        name: "files",
        doc: "Files on local disk.",
        source: Some(&[
            option("path", OptionKind::Text, true, "A file, a folder, or a glob; relative to the working folder."),
            option("format", FORMATS, true, "How the files are encoded."),
            csv_option("header", OptionKind::Boolean, "CSV: whether the first line names the columns (true)."),
            csv_option("delimiter", OptionKind::Delimiter, "CSV: the character between fields (,)."),
            csv_option("null_value", OptionKind::Text, "CSV: the text that stands for NULL (nothing)."),
            option("rows_per_second", OptionKind::Count, false, "Replays at this pace, each subtask its share."),
            option(
                "null_event_time",
                OptionKind::OneOf(&["dead_letter", "skip"]),
                false,
                "Rows without an event time go to the dead letters, or are counted and skipped (dead_letter).",
            ),
        ]),
        sink: Some(&[
            option("path", OptionKind::Text, true, "The folder to write part files to; made if it does not exist."),
            option("format", FORMATS, true, "How the files are encoded."),
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

/// Options of every source, whatever its connector: how its time keeps pace with that of others.
pub const SOURCE_OPTIONS: &[OptionSpec] = &[
    option(
        "idle_timeout",
        OptionKind::Duration,
        false,
        "A source without rows for so long holds the time of others up no more (30s); 0 for never.",
    ),
    option(
        "watermark_group",
        OptionKind::Text,
        false,
        "Sources of one group wait for the slowest of them, so that none runs ahead by more than max_drift.",
    ),
    option("max_drift", OptionKind::Duration, false, "Event time by which a source may be ahead of its group."),
];

/// The connector that carries the result of a SELECT to the session. Users cannot name it.
pub const RESULT_CONNECTOR: &str = "result";

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
        let message = format!("unknown connector '{name}'; valid are: {}", valid.join(", "));
        PlanError::given_option("connector", message)
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
    for (key, value) in options {
        check_value(find_option([declared, common], what, connector, key)?, value)?;
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
    options().find(|option| option.name == key).ok_or_else(|| {
        let valid: Vec<&str> = options().map(|option| option.name).collect();
        let valid = if valid.is_empty() { String::from("it takes none") } else { valid.join(", ") };
        let message = format!("unknown option '{key}' of {what} connector '{connector}'; valid are: {valid}");
        PlanError::given_option(key, message)
    })
}

fn check_value(option: &OptionSpec, value: &str) -> Result<()> {
    let wanted = match option.kind {
        OptionKind::Text => return Ok(()),
        OptionKind::Count if value.parse::<u64>().is_ok_and(|count| count > 0) => return Ok(()),
        OptionKind::Boolean if matches!(value, "true" | "false") => return Ok(()),
        OptionKind::OneOf(words) if words.contains(&value) => return Ok(()),
        OptionKind::Duration if parse_duration_ms(value).is_some() => return Ok(()),
        OptionKind::Delimiter => return delimiter(value).map(|_| ()),
        OptionKind::Count => String::from("a whole number of at least 1"),
        OptionKind::Boolean => String::from("true or false"),
        OptionKind::Duration => String::from("a duration such as 30s or 500ms, or 0"),
        OptionKind::OneOf(words) => format!("one of {}", words.join(", ")),
    };
    let message = format!("option '{}' is '{value}', but takes {wanted}", option.name);
    Err(PlanError::given_option(option.name, message))
}

/// Refuses an option that would do nothing.
fn check_format(option: &OptionSpec, options: &[(String, String)]) -> Result<()> {
    let given = options.iter().find(|(key, _)| key == "format").map(|(_, format)| format.as_str());
    match (option.format, given) {
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
    fn a_pace_of_nothing_is_refused() {
        let check =
            |rate| check("files", Direction::Source, &[("path", "x"), ("format", "csv"), ("rows_per_second", rate)]);
        for bad in ["0", "-1", "fast", "1.5"] {
            assert!(check(bad).contains("takes a whole number of at least 1"), "{}", check(bad));
        }
        assert_eq!(check("1"), "");
    }
}
