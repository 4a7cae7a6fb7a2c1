//! Statements that are typed at a terminal, with rustyline: a thread waits for keys while others work.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::config::{Behavior, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc;

use super::command::Command;
use super::completion::{Names, complete};
use super::input::Entry;
use super::statement_end::StatementEnd;
use crate::error::{Result, TidemillError};
use crate::say::warn;

const PROMPT: &str = "tidemill> ";

/// Statements that are remembered.
const HISTORY_MAX: usize = 10_000;

/// How long Tab waits for the names of the catalog.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

/// How many alternatives are listed before somebody is asked.
const LISTED_MAX: usize = 100;

/// What prints lines above the prompt, where a terminal can do that.
pub(super) type Printer = Option<Box<dyn ExternalPrinter + Send>>;

/// Starts the thread. It reads an entry whenever it is asked, and ends when nobody asks any more.
pub(super) fn start(
    asks: blocking::Receiver<()>,
    entries: mpsc::Sender<Entry>,
    history: Option<PathBuf>,
) -> Result<Printer> {
    let (started, starts) = blocking::sync_channel(1);
    let run = move || {
        let (keys, printer) = match Keys::new(entries, history) {
            Ok(opened) => opened,
            Err(error) => return drop(started.send(Err(error))),
        };
        // Whoever has started this waits for it.
        if started.send(Ok(printer)).is_ok() {
            keys.read_all(&asks);
        }
    };
    thread::Builder::new().name(String::from("editor")).spawn(run).map_err(TidemillError::Output)?;
    let ended = || TidemillError::Terminal(ReadlineError::Eof);
    starts.recv().map_err(|_| ended())?.map_err(TidemillError::Terminal)
}

/// The keyboard.
struct Keys {
    editor: Editor<Assistant, FileHistory>,
    entries: mpsc::Sender<Entry>,
    /// The file of the history, as long as it can be written.
    history: Option<PathBuf>,
}

impl Keys {
    fn new(entries: mpsc::Sender<Entry>, history: Option<PathBuf>) -> rustyline::Result<(Self, Printer)> {
        let config = Config::builder()
            .max_history_size(HISTORY_MAX)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(LISTED_MAX)
            .tab_stop(4)
            // Results may go to a file while somebody types.
            .behavior(Behavior::PreferTerm)
            .build();
        let mut editor = Editor::with_history(config.clone(), FileHistory::with_config(&config))?;
        editor.set_helper(Some(Assistant::new(entries.clone())));
        let printer = editor.create_external_printer().ok();
        let printer: Printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter + Send>);
        if let Some(path) = &history {
            // The first shell finds none.
            let _ = editor.load_history(path);
        }
        Ok((Self { editor, entries, history }, printer))
    }

    fn read_all(mut self, asks: &blocking::Receiver<()>) {
        while asks.recv().is_ok() {
            let entry = self.read();
            let is_last = matches!(entry, Entry::End | Entry::Failed(_));
            if self.entries.blocking_send(entry).is_err() || is_last {
                return;
            }
        }
    }

    fn read(&mut self) -> Entry {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.begin();
        }
        match self.editor.readline(PROMPT) {
            Ok(text) => {
                self.remember(&text);
                Entry::Text(text)
            }
            Err(ReadlineError::Interrupted) => {
                let was_empty = self.editor.helper().is_none_or(|assistant| assistant.is_empty.get());
                Entry::Interrupted { was_empty }
            }
            Err(ReadlineError::Eof) => Entry::End,
            Err(error) => Entry::Failed(TidemillError::Terminal(error)),
        }
    }

    /// At once, for the next shell may be open already.
    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() || has_secret(text) {
            return;
        }
        // It is not added a second time in a row.
        let _ = self.editor.add_history_entry(text.trim_end());
        let Some(path) = &self.history else { return };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let kept = folder.map_err(ReadlineError::Io).and_then(|()| self.editor.append_history(path));
        if let Err(error) = kept {
            warn(&format!("cannot keep the history in {}: {error}", path.display()));
            self.history = None;
        }
    }
}

/// Whether a statement says what only its author may know.
fn has_secret(text: &str) -> bool {
    let text = text.to_uppercase();
    ["PASSWORD", "SECRET", "TOKEN"].iter().any(|word| text.contains(word))
}

/// What the editor asks while somebody types.
struct Assistant {
    entries: mpsc::Sender<Entry>,
    /// The names of the catalog, once this entry has asked for them.
    names: RefCell<Option<Names>>,
    /// Whether nothing is typed.
    is_empty: Cell<bool>,
    files: FilenameCompleter,
}

impl Assistant {
    fn new(entries: mpsc::Sender<Entry>) -> Self {
        Self { entries, names: RefCell::new(None), is_empty: Cell::new(true), files: FilenameCompleter::new() }
    }

    /// An entry begins.
    fn begin(&mut self) {
        self.is_empty.set(true);
        self.names.take();
    }

    fn ask_for_names(&self) -> Names {
        let (reply, names) = blocking::sync_channel(1);
        // Without an answer in time there are the keywords.
        match self.entries.try_send(Entry::Names(reply)) {
            Ok(()) => names.recv_timeout(NAMES_LIMIT).unwrap_or_default(),
            Err(_) => Names::default(),
        }
    }
}

impl Helper for Assistant {}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;

    // It hints at nothing, but is told what is typed.
    fn hint(&self, text: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_empty.set(text.is_empty());
        None
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let end = StatementEnd::of(context.input());
        let is_done = end.is_blank() || end.is_complete() || Command::of(context.input()).is_some();
        Ok(if is_done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, text: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if text.trim_start().starts_with("\\i ") {
            return self.files.complete_path(text, cursor);
        }
        let mut names = self.names.borrow_mut();
        let names = names.get_or_insert_with(|| self.ask_for_names());
        let (start, found) = complete(text, cursor, names);
        let pair = |text: String| Pair { display: text.clone(), replacement: text };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}
