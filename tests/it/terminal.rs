//! The program at a terminal: what is typed, and what the screen shows then.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rexpect::process::{PtyProcess, WaitStatus};
use vt100::Parser;

use crate::command::PATIENCE;

/// What the shell asks with.
pub(crate) const PROMPT: &str = "tidemill>";

const POLL: Duration = Duration::from_millis(20);

const ROWS: u16 = 40;
const COLUMNS: u16 = 80;

/// A terminal with the program in it.
pub(crate) struct Terminal {
    process: PtyProcess,
    keyboard: File,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// Starts the program in a folder, which is also its home.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let size = format!("stty rows {ROWS} cols {COLUMNS}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &size, "sh", env!("CARGO_BIN_EXE_tidemill")]).args(arguments).current_dir(folder);
        command.env("TERM", "xterm-256color").env("XDG_STATE_HOME", folder.join("state")).env_remove("TIDEMILL_LOG");
        let process = PtyProcess::new(command).unwrap();
        let keyboard = process.get_file_handle().unwrap();
        let size = |size| NonZeroU16::new(size).unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(size(ROWS), size(COLUMNS), 0)));
        show(process.get_file_handle().unwrap(), Arc::clone(&screen));
        Self { process, keyboard, screen }
    }

    /// Types keys.
    pub(crate) fn type_(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// What the screen shows, without the room at its end.
    pub(crate) fn shown(&self) -> String {
        let contents = self.screen.lock().unwrap().screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            let shown = self.shown();
            if is_so(&shown) {
                return shown;
            }
            thread::sleep(POLL);
        }
        panic!("after {PATIENCE:?} no {what} in:\n{}", self.shown());
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("'{text}'"), |shown| shown.contains(text))
    }

    /// Waits until the screen ends with a text.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, text: &str) -> String {
        self.wait_until(&format!("end '{text}'"), |shown| shown.ends_with(text))
    }

    /// Waits for the first prompt.
    #[track_caller]
    pub(crate) fn begin(&self) {
        self.wait_until("prompt", |shown| shown.ends_with(PROMPT));
    }

    /// Empties the screen, at a prompt where nothing is typed.
    #[track_caller]
    pub(crate) fn clear(&mut self) {
        self.type_("\x0c");
        self.wait_until("empty screen", |shown| shown == PROMPT);
    }

    /// Types something at an empty screen, and waits for the next prompt.
    #[track_caller]
    pub(crate) fn run(&mut self, keys: &str) -> String {
        self.clear();
        self.type_(keys);
        self.next_prompt()
    }

    /// Waits for the prompt behind the one at the top of the screen.
    #[track_caller]
    pub(crate) fn next_prompt(&self) -> String {
        self.wait_until("next prompt", |shown| shown.ends_with(PROMPT) && shown.matches(PROMPT).count() > 1)
    }

    /// Waits for the end of the program; returns its exit status.
    #[track_caller]
    pub(crate) fn status(self) -> i32 {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            match self.process.status() {
                Some(WaitStatus::Exited(_, status)) => return status,
                Some(WaitStatus::StillAlive) => thread::sleep(POLL),
                other => panic!("{other:?}; screen:\n{}", self.shown()),
            }
        }
        panic!("still running after {PATIENCE:?}; screen:\n{}", self.shown());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its drop waits for an end that SIGTERM may not bring soon.
        self.process.set_kill_timeout(Some(5_000));
    }
}

/// Reads what the program writes, as long as it does.
fn show(mut output: File, screen: Arc<Mutex<Parser>>) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            match output.read(&mut bytes) {
                Ok(0) => return,
                Ok(read) => screen.lock().unwrap().process(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // This is how the end of a terminal reads.
                Err(_) => return,
            }
        }
    });
}
