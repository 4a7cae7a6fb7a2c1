//! Commands to the shell itself: lines that begin with a backslash.

use std::path::PathBuf;
use std::time::Duration;

use tidemill_plans::settings::parse_duration_ms;

/// What `\?` says.
pub(super) const HELP: &str = "\
statements end with ; and may take several lines. CREATE MATERIALIZED VIEW, CREATE SINK … AS, INSERT INTO and
CREATE MODEL run until their objects are dropped; SELECT … FROM view reads what a view has now.
  \\d           list sources, views, sinks, models and functions
  \\d NAME      describe one of them
  \\x           a line for each value, or tables again
  \\timing      say how long statements take, or no longer
  \\watch [N]   repeat the last statement every N seconds (2), until Ctrl-C
  \\i FILE      run a file; its statements that go on running share their sources
  \\?           this help
  \\q           quit; everything that has been read is written first
Ctrl-C stops a statement, and at an empty prompt twice quits. Tab completes keywords and names.";

/// The commands, for completion.
pub(super) const COMMANDS: &[&str] = &["\\?", "\\d", "\\i", "\\q", "\\timing", "\\watch", "\\x"];

/// How often a statement is repeated if nobody says.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What a line asks of the shell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Quit,
    Help,
    /// Runs a file.
    Include(PathBuf),
    /// Lists objects.
    List,
    /// Describes an object.
    Describe(String),
    /// Shows values on lines of their own, or does not.
    Expanded,
    /// Says how long statements take, or does not.
    Timing,
    /// Repeats the last statement.
    Watch(Duration),
    /// Nothing that is known; what to say.
    Wrong(String),
}

impl Command {
    /// The command that a line is, if it is one.
    pub(super) fn of(line: &str) -> Option<Self> {
        let line = line.trim().trim_end_matches(';').trim_end();
        if ["quit", "exit"].iter().any(|word| line.eq_ignore_ascii_case(word)) {
            return Some(Self::Quit);
        }
        if line.eq_ignore_ascii_case("help") {
            return Some(Self::Help);
        }
        let rest = line.strip_prefix('\\')?;
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        Some(Self::named(name, argument.trim()))
    }

    fn named(name: &str, argument: &str) -> Self {
        match (name, argument) {
            ("q", "") => Self::Quit,
            ("?" | "h", "") => Self::Help,
            ("d", "") => Self::List,
            ("d", name) => Self::Describe(name.to_owned()),
            ("x", "") => Self::Expanded,
            ("timing", "") => Self::Timing,
            ("watch", "") => Self::Watch(WATCH_EVERY),
            ("watch", every) => match watched_every(every) {
                Some(every) => Self::Watch(every),
                None => Self::Wrong(format!("\\watch takes seconds, such as 2 or 0.5, or 500ms; not '{every}'")),
            },
            ("i", "") => Self::Wrong(String::from("\\i takes a file: \\i views.sql")),
            ("i", path) => Self::Include(PathBuf::from(path)),
            ("q" | "?" | "h" | "x" | "timing", argument) => {
                Self::Wrong(format!("\\{name} takes nothing behind it, and there is '{argument}'"))
            }
            _ => Self::Wrong(format!("there is no \\{name}; there are: {}", COMMANDS.join(" "))),
        }
    }
}

/// Seconds, or a duration with its unit.
fn watched_every(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let every = seconds.or_else(|| parse_duration_ms(text).map(Duration::from_millis));
    every.filter(|every| !every.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_it_is_not() {
        for (line, command) in [
            ("\\q", Command::Quit),
            (" EXIT; ", Command::Quit),
            ("help", Command::Help),
            ("\\i a b.sql", Command::Include(PathBuf::from("a b.sql"))),
            ("\\d", Command::List),
            ("\\d bids;", Command::Describe(String::from("bids"))),
            ("\\watch", Command::Watch(Duration::from_secs(2))),
            ("\\watch 0.5", Command::Watch(Duration::from_millis(500))),
            ("\\watch 200ms", Command::Watch(Duration::from_millis(200))),
        ] {
            assert_eq!(Command::of(line), Some(command), "{line}");
        }
        for statement in ["SELECT 1", "", "quit now", "SELECT '\\q'"] {
            assert_eq!(Command::of(statement), None, "{statement}");
        }
        for (line, says) in [
            ("\\nothing", "there is no \\nothing; there are: \\? \\d"),
            ("\\watch 0", "\\watch takes seconds"),
            ("\\watch -1", "\\watch takes seconds"),
            ("\\x on", "\\x takes nothing behind it, and there is 'on'"),
            ("\\i", "\\i takes a file"),
        ] {
            let Some(Command::Wrong(message)) = Command::of(line) else { panic!("{line}") };
            assert!(message.contains(says), "{message}");
        }
    }
}
