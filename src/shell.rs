//! `tidemill shell`: statements one after another on a cluster of its own. Views, sinks and models go on
//! running behind the prompt, and views are read while they do.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_coordinator::session::{Analysis, Query, Reply, SqlSession};
use tidemill_coordinator::{JobHandle, JobStatus};
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::settings::Settings;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use crate::cluster::{LocalCluster, Workers};
use crate::config;
use crate::error::{Result, TidemillError};
use crate::follow::{End, suspended};
use crate::interrupts::Interrupts;
use crate::output::{self, Format};
use crate::results::Results;
use crate::say::say;

/// Lines that are read ahead of the statement that runs.
const LINES_MAX: usize = 64;

/// How often somebody looks whether a job in the background has failed.
const FAILURE_CHECK: Duration = Duration::from_millis(500);

const HELP: &str = "\
statements end with ; and may take several lines. CREATE MATERIALIZED VIEW, CREATE SINK … AS, INSERT INTO and
CREATE MODEL run until their objects are dropped; SELECT … FROM view reads what a view has now.
  \\i FILE   run a file; its statements that go on running share their sources
  \\q        quit; everything that has been read is written first
  Ctrl-C    stop a SELECT";

/// What a shell is started with.
pub struct Shell {
    /// The settings before its first statement.
    pub settings: Settings,
    /// Where the work is done.
    pub workers: Workers,
    /// Where the metadata are kept; without it they are gone with the process.
    pub data_dir: Option<PathBuf>,
    /// How results are printed.
    pub format: Format,
    /// Where metrics are served, if they are to be.
    pub http: Option<SocketAddr>,
}

/// Runs a shell on standard input, within an actix system. Where that is no terminal, an error ends it.
pub async fn run(shell: Shell) -> Result<End> {
    let interrupts = Interrupts::listen()?;
    let mut cluster = LocalCluster::start(shell.data_dir.clone())?;
    let outcome = run_on(&mut cluster, &shell, interrupts).await;
    cluster.shut_down().await;
    outcome
}

async fn run_on(cluster: &mut LocalCluster, shell: &Shell, mut interrupts: Interrupts) -> Result<End> {
    cluster.serve_http(shell.http).await?;
    tokio::select! {
        started = cluster.start_workers(shell.workers) => started?,
        signal = interrupts.next() => return Ok(End::Interrupted(signal)),
    }
    Prompt::new(cluster, shell, interrupts).read_and_run().await
}

struct Prompt<'a> {
    session: SqlSession,
    cluster: &'a mut LocalCluster,
    interrupts: Interrupts,
    format: Format,
    is_terminal: bool,
    /// The lines of a statement that is not complete.
    text: String,
    /// How many lines were read before those.
    lines_before: usize,
}

/// What a line asks for.
enum Command {
    Quit,
    Help,
    Include(PathBuf),
    /// A line of a statement.
    Text,
}

impl<'a> Prompt<'a> {
    fn new(cluster: &'a mut LocalCluster, shell: &Shell, interrupts: Interrupts) -> Self {
        let session = SqlSession::new(cluster.coordinator.clone(), shell.settings.clone());
        let is_terminal = std::io::stdin().is_terminal();
        Self { session, cluster, interrupts, format: shell.format, is_terminal, text: String::new(), lines_before: 0 }
    }

    async fn read_and_run(mut self) -> Result<End> {
        let mut lines = read_lines();
        let mut check = tokio::time::interval(FAILURE_CHECK);
        self.prompt();
        let outcome = loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => match self.take_line(&line).await {
                        Ok(true) if self.interrupts.has_to_end() => break Ok(()),
                        Ok(true) => self.prompt(),
                        Ok(false) => break Ok(()),
                        Err(error) => break Err(error),
                    },
                    None => break self.run_rest().await,
                },
                signal = self.interrupts.next() => {
                    if !self.is_terminal || signal == SignalKind::terminate() {
                        break Ok(());
                    }
                    self.text.clear();
                    say("");
                    self.prompt();
                }
                error = self.cluster.worker_ended() => break Err(error),
                _ = check.tick() => self.tell_failures(),
            }
        };
        if !self.interrupts.has_to_end() {
            self.session.close().await?;
            return outcome.map(|()| End::Finished);
        }
        for job in self.session.interrupt().await? {
            say(&suspended(job));
        }
        outcome.map(|()| End::Interrupted(SignalKind::terminate()))
    }

    /// Takes a line; false to quit.
    async fn take_line(&mut self, line: &str) -> Result<bool> {
        match command(line, self.text.trim().is_empty()) {
            Command::Quit => return Ok(false),
            Command::Help => say(HELP),
            Command::Include(path) => {
                let outcome = self.include(&path).await;
                self.survive(outcome)?;
            }
            Command::Text => {
                if self.text.is_empty() && !self.is_terminal {
                    // Positions in errors are those in the file that was read.
                    self.text = "\n".repeat(self.lines_before);
                }
                self.text.push_str(line);
                self.text.push('\n');
                if line.trim_end().ends_with(';') {
                    self.lines_before += 1;
                    self.run_text().await?;
                    return Ok(true);
                }
            }
        }
        self.lines_before += 1;
        Ok(true)
    }

    async fn include(&mut self, path: &Path) -> Result<()> {
        let text = config::read_script(path)?;
        self.execute(&text).await
    }

    /// Runs what stands behind the last semicolon when the input ends. A script is done when its jobs are that
    /// have an end; somebody at a terminal who leaves does not wait.
    async fn run_rest(&mut self) -> Result<()> {
        if !self.text.trim().is_empty() {
            self.run_text().await?;
        }
        if !self.is_terminal {
            tokio::select! {
                () = self.session.finish() => {}
                _ = self.interrupts.next() => {}
                error = self.cluster.worker_ended() => return Err(error),
            }
        }
        match self.session.failures().into_iter().next() {
            Some(failure) => Err(TidemillError::JobFailed(failure)),
            None => Ok(()),
        }
    }

    async fn run_text(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        let outcome = self.execute(&text).await;
        self.survive(outcome)
    }

    /// At a terminal, an error is told and the next statement may be right.
    fn survive(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if self.is_terminal => {
                say(&format!("error: {}", error.chain()));
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn execute(&mut self, text: &str) -> Result<()> {
        let Self { session, cluster, interrupts, format, is_terminal, .. } = self;
        let mut screen = Screen { cluster, interrupts, format: *format, is_terminal: *is_terminal };
        session.run(text, async |reply| screen.show(reply).await).await
    }

    fn tell_failures(&mut self) {
        let failures = self.session.failures();
        failures.iter().for_each(|failure| say(&format!("error: {failure}")));
        if !failures.is_empty() {
            self.prompt();
        }
    }

    /// Asks for a line, at a terminal.
    fn prompt(&self) {
        if self.is_terminal {
            let prompt = if self.text.is_empty() { "tidemill> " } else { "       -> " };
            // That it cannot be written is no reason to end.
            let _ = write!(std::io::stderr(), "{prompt}");
        }
    }
}

/// Shows what statements come to.
struct Screen<'a> {
    cluster: &'a mut LocalCluster,
    interrupts: &'a mut Interrupts,
    format: Format,
    is_terminal: bool,
}

impl Screen<'_> {
    async fn show(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Done(message) | Reply::Saved { message, .. } => say(&message),
            Reply::Begun(beginning) => beginning.wait().await,
            Reply::Ends(ending) => drop(ending.wait().await?),
            Reply::Rows(rows) => output::print(self.format, &rows.schema(), &[rows])?,
            Reply::Query(query) => self.follow(query).await?,
            Reply::Analysis(analysis) => self.analyze(analysis).await?,
        }
        Ok(())
    }

    /// Follows a statement to its end, or to an interrupt, and shows what its operators did.
    async fn analyze(&mut self, analysis: Analysis) -> Result<()> {
        let Analysis { mut job, warnings, graph, sinks, result } = analysis;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        let mut results = Results::of_job(self.format, [], &graph);
        result.iter().for_each(|result| results.do_without(result));
        self.watch(&mut job, &mut results, StopMode::Drain).await?;
        let plan = output::plan(&explain_analyze(&graph, &sinks, &job.metrics.borrow()))?;
        output::print(self.format, &plan.schema(), &[plan])
    }

    /// Follows a SELECT to its end, or to an interrupt.
    async fn follow(&mut self, query: Query) -> Result<()> {
        let Query { mut job, warnings, graph, result } = query;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        let mut results = Results::of_job(self.format, [result.clone()], &graph);
        if result.live && self.is_terminal {
            say("rows as they come; Ctrl-C stops");
        }
        results.begin()?;
        match self.watch(&mut job, &mut results, StopMode::Cancel).await? {
            JobStatus::Stopped if !result.live => Ok(()),
            _ => results.print(&result),
        }
    }

    /// Takes a job's rows until it has ended, which is an error if it has failed. Once nobody wants more, and at
    /// an interrupt, it is stopped in this mode; a second interrupt does not wait.
    async fn watch(&mut self, job: &mut JobHandle, results: &mut Results, mode: StopMode) -> Result<JobStatus> {
        let mut at_interrupt = mode;
        loop {
            tokio::select! {
                rows = job.results.recv() => match rows {
                    Some(rows) => {
                        results.take(rows)?;
                        if results.are_complete() {
                            job.stop(mode).await?;
                        }
                    }
                    None => break,
                },
                _ = self.interrupts.next() => {
                    job.stop(at_interrupt).await?;
                    at_interrupt = StopMode::Cancel;
                }
                error = self.cluster.worker_ended() => return Err(error),
            }
        }
        match job.wait().await {
            JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
            status => Ok(status),
        }
    }
}

/// What a line asks for; within a statement only a line of that.
fn command(line: &str, at_start: bool) -> Command {
    if !at_start {
        return Command::Text;
    }
    let line = line.trim().trim_end_matches(';').trim_end();
    match line.split_once(char::is_whitespace) {
        Some(("\\i", path)) => return Command::Include(PathBuf::from(path.trim())),
        Some(_) => return Command::Text,
        None => {}
    }
    match line.to_lowercase().as_str() {
        "\\q" | "quit" | "exit" => Command::Quit,
        "\\?" | "\\h" | "help" => Command::Help,
        _ => Command::Text,
    }
}

/// The lines of standard input. A thread of its own waits for them; it ends with the input or the process.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
