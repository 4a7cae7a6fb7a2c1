//! Lines on standard error, for the person at the terminal.

use std::io::Write;

/// Says how things are. That it cannot be said is no reason to end.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says what may go wrong, or has gone.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}
