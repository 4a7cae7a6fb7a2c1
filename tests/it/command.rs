//! Runs the program as a user does: a script in a folder of its own, arguments, what it printed.
//!
//! A run that hangs is killed after a while and fails its test, whatever it has printed by then.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

/// How long a run may take before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit status; `None` for a process that a signal ended.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The output of a run that went well.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.status, Some(0), "stderr:\n{}", self.stderr);
        self.no_panic()
    }

    /// What the program said of a run that failed in an orderly way.
    #[track_caller]
    pub(crate) fn failure(self) -> String {
        let output = self.no_panic();
        assert_eq!(output.status, Some(1), "stdout:\n{}\nstderr:\n{}", output.stdout, output.stderr);
        let message = output.stderr.lines().find(|line| line.starts_with("error: "));
        assert!(message.is_some(), "no error in stderr:\n{}", output.stderr);
        output.stderr
    }

    #[track_caller]
    fn no_panic(self) -> Self {
        assert!(!self.stderr.contains("panicked"), "stderr:\n{}", self.stderr);
        self
    }
}

/// A temporary folder, in which scripts run: their paths are relative to it.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::with_prefix("tidemill-it-").unwrap() }
    }

    /// A folder with files in it, by name and text.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The only file of a folder, whatever it is called: one of an INSERT has a number of its own.
    pub(crate) fn read_only_file(&self, folder: &str) -> String {
        let mut files = std::fs::read_dir(self.path(folder)).unwrap();
        let only = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "{folder} has more than {only:?}");
        std::fs::read_to_string(only).unwrap()
    }

    /// Runs a script to its end.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str, arguments: &[&str]) -> Output {
        self.start(sql, arguments).output(PATIENCE)
    }

    /// Starts a shell that reads these lines.
    pub(crate) fn shell(&self, input: &str, arguments: &[&str]) -> Run {
        self.write("input.sql", input);
        let input = std::fs::File::open(self.path("input.sql")).unwrap();
        Run::start_reading(self.dir.path(), &[&["shell"], arguments].concat(), input.into())
    }

    /// Starts a shell that reads what is said to the run.
    pub(crate) fn open_shell(&self, arguments: &[&str]) -> Run {
        Run::start_reading(self.dir.path(), &[&["shell"], arguments].concat(), Stdio::piped())
    }

    /// Starts a script.
    pub(crate) fn start(&self, sql: &str, arguments: &[&str]) -> Run {
        self.write("script.sql", sql);
        Run::start(self.dir.path(), &[&["run", "script.sql"], arguments].concat())
    }
}

/// A process that was started and is not waited for yet.
pub(crate) struct Run {
    pub(crate) pid: u32,
    /// Where it reads from, if that is a pipe of ours.
    stdin: Option<ChildStdin>,
    ended: Receiver<ExitStatus>,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    stdout_lines: Receiver<String>,
    stderr_lines: Receiver<String>,
    _end: KilledLast,
}

/// Ends a process that is still there when its test is over, or has failed.
struct KilledLast {
    pid: u32,
    has_ended: Arc<AtomicBool>,
}

impl Drop for KilledLast {
    fn drop(&mut self) {
        if !self.has_ended.load(Ordering::Acquire) {
            // It may just have ended by itself.
            let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Run {
    /// Starts the program in `folder`, deaf to what this process's environment says about logging.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_reading(folder, arguments, Stdio::null())
    }

    /// Starts the program with these variables in its environment.
    pub(crate) fn start_with(folder: &Path, arguments: &[&str], variables: &[(String, String)]) -> Self {
        Self::spawn(program(folder, arguments).stdin(Stdio::null()).envs(variables.iter().cloned()))
    }

    /// Starts the program in a network namespace; that is what needs privileges, the program does not.
    pub(crate) fn start_in(namespace: &str, folder: &Path, arguments: &[&str], variables: &[(String, String)]) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_tidemill")]);
        Self::spawn(set_up(&mut command, folder, arguments).stdin(Stdio::null()).envs(variables.iter().cloned()))
    }

    fn start_reading(folder: &Path, arguments: &[&str], input: Stdio) -> Self {
        Self::spawn(program(folder, arguments).stdin(input))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stdout_lines) = read_lines(child.stdout.take().unwrap());
        let (stderr, stderr_lines) = read_lines(child.stderr.take().unwrap());
        let (pid, stdin) = (child.id(), child.stdin.take());
        let (status, ended) = channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&has_ended);
        thread::spawn(move || {
            let ended = child.wait().unwrap();
            end.store(true, Ordering::Release);
            status.send(ended)
        });
        let _end = KilledLast { pid, has_ended };
        Self { pid, stdin, ended, stdout, stderr, stdout_lines, stderr_lines, _end }
    }

    /// Waits until a line of standard error contains `part`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, part: &str) {
        self.wait_for(&self.stderr_lines, part);
    }

    /// Waits until a line of standard output contains `part`.
    #[track_caller]
    pub(crate) fn wait_for_row(&self, part: &str) {
        self.wait_for(&self.stdout_lines, part);
    }

    #[track_caller]
    fn wait_for(&self, lines: &Receiver<String>, part: &str) {
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return,
                Ok(_) => {}
                Err(error) => {
                    // One that has ended by itself cannot be killed.
                    if error == RecvTimeoutError::Timeout {
                        self.signal("KILL");
                    }
                    panic!("no line with '{part}': {error}");
                }
            }
        }
    }

    /// Writes a line that the process reads.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Has the shell stop a job with a savepoint.
    #[track_caller]
    pub(crate) fn stop_with_savepoint(&mut self, job: &str, savepoint: &str) {
        self.say(&format!("STOP JOB {job} WITH SAVEPOINT '{savepoint}';"));
        self.wait_for_line(&format!("STOP job-1 WITH SAVEPOINT '{savepoint}'"));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(sent.unwrap().success(), "cannot send SIG{name} to process {}", self.pid);
    }

    /// Waits for the end of a process that was killed. What it had started may keep its pipes open.
    #[track_caller]
    pub(crate) fn wait_killed(&self) {
        assert!(self.ended.recv_timeout(PATIENCE).is_ok(), "process {} survives SIGKILL", self.pid);
    }

    /// Waits for the end of the process, which is told nothing more; kills it after `limit` and panics.
    #[track_caller]
    pub(crate) fn output(mut self, limit: Duration) -> Output {
        drop(self.stdin.take());
        let Ok(status) = self.ended.recv_timeout(limit) else {
            self.signal("KILL");
            // Worker processes may keep the pipes open, so what was printed is not waited for.
            let lines: Vec<String> = self.stderr_lines.try_iter().collect();
            panic!("still running after {limit:?}; stderr:\n{}", lines.join("\n"));
        };
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        Output { status: status.code(), stdout, stderr }
    }
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    set_up(&mut command, folder, arguments);
    command
}

fn set_up<'a>(command: &'a mut Command, folder: &Path, arguments: &[&str]) -> &'a mut Command {
    command.args(arguments).current_dir(folder).env_remove("TIDEMILL_LOG")
}

/// Reads a pipe to its end; the lines can be had as they come, but most tests only look at the whole.
fn read_lines(pipe: impl Read + Send + 'static) -> (JoinHandle<String>, Receiver<String>) {
    let (sender, lines) = channel();
    let whole = thread::spawn(move || {
        let (mut pipe, mut text) = (BufReader::new(pipe), String::new());
        loop {
            let start = text.len();
            if pipe.read_line(&mut text).unwrap() == 0 {
                return text;
            }
            let _ = sender.send(text[start..].trim_end_matches('\n').to_owned());
        }
    });
    (whole, lines)
}

/// The rows of a CSV text, without the header, sorted.
pub(crate) fn sorted_rows(csv: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = csv.lines().skip(1).collect();
    rows.sort_unstable();
    rows
}
