//! How a shell shows what statements come to, and how it hears that somebody has had enough.

use crate::error::{Result, TidemillError};
use crate::interrupts::Interrupts;
use crate::output::Format;
use crate::say::say;

/// What statements are shown on.
pub(super) struct Screen {
    pub(super) interrupts: Interrupts,
    pub(super) format: Format,
    /// Whether somebody types, and reads what is said.
    pub(super) is_terminal: bool,
}

impl Screen {
    pub(super) fn warn(&self, warnings: &[String]) {
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    }

    /// Says that rows may never end, if they may not.
    pub(super) fn announce(&self, is_live: bool) {
        if is_live && self.is_terminal {
            say("rows as they come; Ctrl-C stops");
        }
    }

    /// What a statement comes to that was interrupted: whoever types has had enough of those behind it, too.
    pub(super) fn stopped(&self) -> Result<()> {
        if self.is_terminal && !self.interrupts.has_to_end() { Err(TidemillError::Interrupted) } else { Ok(()) }
    }
}
