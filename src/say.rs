//! Lines on standard error, for the person at the terminal: without the values of secrets, whoever has put them there.

use std::io::{self, Write};

use tidemill_plans::redaction::redacted;

/// Standard error for whole lines.
pub(crate) struct Redacted;

impl Write for Redacted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().write_all(redacted(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Says how things are. That it cannot be said is no reason to end.
pub(crate) fn say(line: &str) {
    let _ = Redacted.write_all(format!("{line}\n").as_bytes());
}

/// Says what may go wrong, or has gone.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}
