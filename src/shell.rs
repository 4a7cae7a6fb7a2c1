//! `tidemill shell`: statements one after another, on a cluster of its own or on one that runs. Views, sinks and models
//! go on running behind the prompt, and views are read while they do.

mod backend;
mod caret;
mod command;
mod completion;
mod editor;
mod embedded;
mod input;
mod screen;
mod server;
mod statement_end;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_coordinator::api::Login;
use tidemill_coordinator::session::SqlSession;
use tidemill_engine::clock;
use tidemill_net::Connector;
use tidemill_plans::settings::Settings;
use tokio::signal::unix::SignalKind;

use self::backend::Backend;
use self::command::{Command, HELP};
use self::embedded::Embedded;
use self::input::{Entry, Input};
use self::screen::Screen;
use self::server::Server;
use self::statement_end::StatementEnd;
use crate::cluster::{LocalCluster, Workers};
use crate::config;
use crate::error::{Result, TidemillError};
use crate::follow::End;
use crate::interrupts::Interrupts;
use crate::output::{self, Format};
use crate::say::say;

/// How often somebody looks whether a job in the background has failed.
const FAILURE_CHECK: Duration = Duration::from_millis(500);

/// How long Tab may take, of which the prompt waits.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

/// What a shell is started with.
pub struct Shell {
    /// Where its statements are executed.
    pub place: Place,
    /// How results are printed.
    pub format: Format,
}

/// Where statements are executed.
pub enum Place {
    /// On a cluster that ends with the shell.
    Embedded {
        /// The settings before the first statement.
        settings: Box<Settings>,
        /// Where the work is done.
        workers: Workers,
        /// Where the metadata are kept; without it they are gone with the process.
        data_dir: Option<PathBuf>,
        /// Where metrics are served, if they are to be.
        http: Option<SocketAddr>,
    },
    /// At a coordinator in another process.
    Server {
        /// Where it is.
        url: String,
        /// What connects to it.
        connector: Connector,
        /// Who uses it.
        login: Option<Login>,
        /// The settings before the first statement that are not the server's.
        settings: Vec<(String, String)>,
    },
}

/// Runs a shell on standard input, within an actix system. Where that is no terminal, an error ends it.
pub async fn run(shell: Shell) -> Result<End> {
    let interrupts = Interrupts::listen()?;
    match shell.place {
        Place::Server { url, connector, login, settings } => {
            let server = Server::connect(&url, &connector, login, &settings).await?;
            Prompt::new(Backend::Server(Box::new(server)), shell.format, interrupts)?.read_and_run().await
        }
        Place::Embedded { settings, workers, data_dir, http } => {
            let mut cluster = LocalCluster::start(data_dir)?;
            let outcome = run_on(&mut cluster, (workers, http), *settings, shell.format, interrupts).await;
            cluster.shut_down().await;
            outcome
        }
    }
}

async fn run_on(
    cluster: &mut LocalCluster,
    (workers, http): (Workers, Option<SocketAddr>),
    settings: Settings,
    format: Format,
    mut interrupts: Interrupts,
) -> Result<End> {
    cluster.serve_http(http).await?;
    tokio::select! {
        started = cluster.start_workers(workers) => started?,
        signal = interrupts.next() => return Ok(End::Interrupted(signal)),
    }
    let session = SqlSession::new(cluster.coordinator.clone(), settings);
    Prompt::new(Backend::Embedded(Box::new(Embedded::new(session, cluster))), format, interrupts)?.read_and_run().await
}

struct Prompt<'a> {
    backend: Backend<'a>,
    input: Input,
    screen: Screen,
    /// Whether it is said how long statements take.
    has_timing: bool,
    /// The statements that were executed last.
    last: Option<String>,
}

impl<'a> Prompt<'a> {
    fn new(backend: Backend<'a>, format: Format, interrupts: Interrupts) -> Result<Self> {
        let input = Input::open(config::state_folder().map(|folder| folder.join("history")))?;
        let screen = Screen { interrupts, format, is_terminal: input.is_terminal() };
        Ok(Self { backend, input, screen, has_timing: false, last: None })
    }

    async fn read_and_run(mut self) -> Result<End> {
        if self.screen.is_terminal {
            say(concat!("tidemill ", env!("CARGO_PKG_VERSION"), "; \\? is help, \\q quits"));
        }
        let outcome = self.read_all().await;
        let Self { mut backend, input, screen, .. } = self;
        // Before anything is said: the terminal is as it was.
        drop(input);
        backend.close(screen.interrupts.has_to_end()).await?;
        outcome?;
        let has_to_end = screen.interrupts.has_to_end();
        Ok(if has_to_end { End::Interrupted(SignalKind::terminate()) } else { End::Finished })
    }

    async fn read_all(&mut self) -> Result<()> {
        let mut check = tokio::time::interval(FAILURE_CHECK);
        let mut was_interrupted = false;
        loop {
            self.input.ask();
            tokio::select! {
                entry = self.input.next() => match entry {
                    Entry::Text(text) => {
                        was_interrupted = false;
                        if !self.take(&text).await? || self.screen.interrupts.has_to_end() {
                            return Ok(());
                        }
                    }
                    Entry::Interrupted { was_empty } => {
                        if was_empty && was_interrupted {
                            return Ok(());
                        }
                        was_interrupted = was_empty;
                        if was_empty {
                            say("once more quits, as \\q does");
                        }
                    }
                    Entry::Names(reply) => {
                        let names = tokio::time::timeout(NAMES_LIMIT, self.backend.names()).await;
                        // What is wrong shows when a statement is executed.
                        let _ = reply.try_send(names.ok().and_then(Result::ok).unwrap_or_default());
                    }
                    Entry::End => return self.finish().await,
                    Entry::Failed(error) => return Err(error),
                },
                // At a terminal that waits for keys, Ctrl-C is one of them.
                signal = self.screen.interrupts.next() => {
                    if !self.screen.is_terminal || signal == SignalKind::terminate() {
                        return Ok(());
                    }
                }
                error = self.backend.ended() => return Err(error),
                _ = check.tick() => self.tell_failures(),
            }
        }
    }

    /// Takes an entry; false to quit.
    async fn take(&mut self, text: &str) -> Result<bool> {
        match Command::of(text) {
            Some(Command::Quit) => return Ok(false),
            Some(Command::Include(path)) => self.include(&path).await?,
            Some(command) => {
                let outcome = self.obey(command).await;
                self.survive("", outcome)?;
            }
            None if StatementEnd::of(text).is_blank() => {}
            None => {
                self.last = Some(text.to_owned());
                let outcome = self.execute(text).await;
                self.survive(text, outcome)?;
            }
        }
        Ok(true)
    }

    async fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Help => say(HELP),
            Command::List => {
                let objects = self.backend.objects().await?;
                output::print(self.screen.format, &objects.schema(), &[objects])?;
            }
            Command::Describe(name) => self.backend.execute(&format!("DESCRIBE {name};"), &mut self.screen).await?,
            Command::Expanded => self.toggle_expanded()?,
            Command::Timing => {
                self.has_timing = !self.has_timing;
                say(if self.has_timing { "timing is on" } else { "timing is off" });
            }
            Command::Watch(every) => self.watch(every).await?,
            Command::Wrong(message) => return Err(TidemillError::Command(message)),
            Command::Quit | Command::Include(_) => {}
        }
        Ok(())
    }

    fn toggle_expanded(&mut self) -> Result<()> {
        let (format, told) = match self.screen.format {
            Format::Table => (Format::Expanded, "a line for each value"),
            Format::Expanded => (Format::Table, "tables"),
            Format::Csv | Format::Json => {
                let message = "\\x is for tables, and this shell was started with another --format";
                return Err(TidemillError::Command(String::from(message)));
            }
        };
        self.screen.format = format;
        say(told);
        Ok(())
    }

    /// Repeats the last statements until an interrupt.
    async fn watch(&mut self, every: Duration) -> Result<()> {
        let Some(text) = self.last.clone() else {
            return Err(TidemillError::Command(String::from("there is no statement yet that \\watch could repeat")));
        };
        loop {
            self.execute(&text).await?;
            if self.screen.is_terminal {
                say(&format!("again in {every:?}; Ctrl-C stops"));
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = self.screen.interrupts.next() => return Ok(()),
                error = self.backend.ended() => return Err(error),
            }
        }
    }

    async fn include(&mut self, path: &Path) -> Result<()> {
        match config::read_script(path) {
            Ok(text) => {
                let outcome = self.execute(&text).await;
                self.survive(&text, outcome)
            }
            Err(error) => self.survive("", Err(error)),
        }
    }

    async fn execute(&mut self, text: &str) -> Result<()> {
        let begun_ns = clock::monotonic_ns();
        let outcome = self.backend.execute(text, &mut self.screen).await;
        if self.has_timing {
            say(&format!("{:.1} ms", clock::monotonic_ns().saturating_sub(begun_ns) as f64 / 1e6));
        }
        outcome
    }

    /// At a terminal, an error is told and the next statement may be right.
    fn survive(&self, text: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(TidemillError::Interrupted) => say("stopped"),
            Err(error) if self.screen.is_terminal => {
                let message = error.chain();
                say(&format!("error: {message}"));
                caret::marked(text, &message).iter().for_each(|marked| say(marked));
            }
            outcome => return outcome,
        }
        Ok(())
    }

    /// The input has ended. A script is done when its jobs are that have an end; somebody at a terminal who leaves does
    /// not wait.
    async fn finish(&mut self) -> Result<()> {
        if !self.screen.is_terminal {
            self.backend.finish(&mut self.screen).await?;
        }
        match self.backend.failures().into_iter().next() {
            Some(failure) => Err(TidemillError::JobFailed(failure)),
            None => Ok(()),
        }
    }

    fn tell_failures(&mut self) {
        for failure in self.backend.failures() {
            self.input.say(&format!("error: {failure}"));
        }
    }
}
