//! What a shell reads: from a terminal one entry whenever it asks, from a pipe one after another.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc as blocking;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use super::command::Command;
use super::completion::Names;
use super::editor::{self, Printer};
use super::statement_end::StatementEnd;
use crate::error::{Result, TidemillError};
use crate::say::say;

/// Entries that are read ahead of the statement that runs.
const ENTRIES_MAX: usize = 64;

/// Has a terminal mark what is pasted no longer.
const PASTE_END: &str = "\x1b[?2004l";

/// Something that was read.
pub(super) enum Entry {
    /// Statements, or a command.
    Text(String),
    /// Ctrl-C.
    Interrupted {
        /// Whether nothing was typed.
        was_empty: bool,
    },
    /// Somebody waits for what the catalog has.
    Names(blocking::SyncSender<Names>),
    /// There is nothing more.
    End,
    /// Nothing more can be read.
    Failed(TidemillError),
}

/// Where entries come from.
pub(super) struct Input {
    entries: mpsc::Receiver<Entry>,
    terminal: Option<Terminal>,
}

struct Terminal {
    asks: blocking::SyncSender<()>,
    printer: Printer,
    /// As it was before anybody typed.
    mode: Option<Termios>,
    /// Whether somebody is asked and has not answered.
    is_asked: bool,
}

impl Input {
    /// Standard input; at a terminal, what is typed is remembered in this file.
    pub(super) fn open(history: Option<PathBuf>) -> Result<Self> {
        let (sender, entries) = mpsc::channel(ENTRIES_MAX);
        if !std::io::stdin().is_terminal() {
            // It ends with the input or the process.
            std::thread::spawn(move || read_pipe(&sender));
            return Ok(Self { entries, terminal: None });
        }
        let (asks, asked) = blocking::sync_channel(1);
        let mode = tcgetattr(std::io::stdin()).ok();
        let printer = editor::start(asked, sender, history)?;
        Ok(Self { entries, terminal: Some(Terminal { asks, printer, mode, is_asked: false }) })
    }

    /// Whether somebody types.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Asks for an entry, if nobody has been asked. A pipe needs no asking.
    pub(super) fn ask(&mut self) {
        if let Some(terminal) = self.terminal.as_mut().filter(|terminal| !terminal.is_asked) {
            // If nobody is there, the entries have ended.
            let _ = terminal.asks.try_send(());
            terminal.is_asked = true;
        }
    }

    /// The next entry.
    pub(super) async fn next(&mut self) -> Entry {
        let entry = self.entries.recv().await.unwrap_or(Entry::End);
        if let Some(terminal) = &mut self.terminal {
            terminal.is_asked &= matches!(entry, Entry::Names(_));
        }
        entry
    }

    /// Says something while somebody may be typing.
    pub(super) fn say(&mut self, line: &str) {
        let printer = self.terminal.as_mut().and_then(|terminal| terminal.printer.as_mut());
        let told = printer.map(|printer| printer.print(format!("{line}\n")));
        if !matches!(told, Some(Ok(()))) {
            say(line);
        }
    }
}

impl Drop for Terminal {
    // Whoever is typing is not to find a terminal that shows nothing.
    fn drop(&mut self) {
        if self.is_asked
            && let Some(mode) = &self.mode
        {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, mode);
            let _ = writeln!(std::io::stderr(), "{PASTE_END}");
        }
    }
}

fn read_pipe(entries: &mpsc::Sender<Entry>) {
    let mut gathered = Gathered::default();
    // What is no text ends the input.
    for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
        if let Some(text) = gathered.take(&line)
            && entries.blocking_send(Entry::Text(text)).is_err()
        {
            return;
        }
    }
    if !gathered.end.is_blank() {
        let _ = entries.blocking_send(Entry::Text(gathered.text));
    }
    let _ = entries.blocking_send(Entry::End);
}

/// The lines of a statement that is not complete.
#[derive(Default)]
struct Gathered {
    text: String,
    end: StatementEnd,
    /// How many lines have been read.
    lines: usize,
}

impl Gathered {
    /// Takes a line; returns what is complete by now. Positions in it are those in all that was read.
    fn take(&mut self, line: &str) -> Option<String> {
        self.lines += 1;
        if self.end.is_blank() && Command::of(line).is_some() {
            self.text.push('\n');
            return Some(line.to_owned());
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.end.read(line);
        self.end.read("\n");
        if !self.end.is_complete() {
            return None;
        }
        self.end = StatementEnd::default();
        Some(std::mem::replace(&mut self.text, "\n".repeat(self.lines)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_statements_that_know_where_they_stand() {
        let mut gathered = Gathered::default();
        let mut taken: Vec<String> = Vec::new();
        let lines = ["-- first", "SELECT 1;", "\\d", "SELECT ';", "\\q", "'; SELECT 2; -- both", "", "\\q", "rest"];
        for line in lines {
            taken.extend(gathered.take(line));
        }
        assert_eq!(taken, ["-- first\nSELECT 1;\n", "\\d", "\n\n\nSELECT ';\n\\q\n'; SELECT 2; -- both\n", "\\q"]);
        assert_eq!(gathered.text, format!("{}rest\n", "\n".repeat(8)));
    }
}
