//! Statements on a cluster of the shell's own, in its process.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use tidemill_coordinator::session::{Analysis, Appending, Beginning, Query, Reply, SqlSession, Training};
use tidemill_coordinator::{JobHandle, JobStatus};
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::protocol::StopMode;
use tokio::time::{Instant, interval_at};

use super::completion::Names;
use super::screen::Screen;
use crate::cluster::LocalCluster;
use crate::error::{Result, TidemillError};
use crate::follow::suspended;
use crate::output;
use crate::progress::{PATIENCE, Progress, REFRESH, Waiting};
use crate::results::Results;
use crate::say::say;

/// A session on the cluster.
pub(super) struct Embedded<'a> {
    session: SqlSession,
    cluster: &'a mut LocalCluster,
}

impl<'a> Embedded<'a> {
    pub(super) fn new(session: SqlSession, cluster: &'a mut LocalCluster) -> Self {
        Self { session, cluster }
    }

    pub(super) async fn execute(&mut self, text: &str, screen: &mut Screen) -> Result<()> {
        let Self { session, cluster } = self;
        let mut showing = Showing { cluster, screen };
        session.run(text, async |reply| showing.show(reply).await).await
    }

    /// The rows of a statement that are known at once.
    pub(super) async fn rows(&mut self, statement: &str) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        let taken = self.session.run(statement, async |reply| {
            rows.extend(match reply {
                Reply::Rows(batch) => Some(batch),
                _ => None,
            });
            Ok::<(), TidemillError>(())
        });
        taken.await?;
        Ok(rows)
    }

    pub(super) fn tables(&self) -> Names {
        let columns = |columns: &Schema| columns.fields().iter().map(|field| field.name().clone()).collect();
        let objects = self.session.all_tables().into_iter().map(|table| (table.name, columns(&table.columns)));
        Names { objects: objects.collect(), functions: Vec::new() }
    }

    /// The jobs that have failed since the last call, as messages.
    pub(super) fn failures(&mut self) -> Vec<String> {
        self.session.failures()
    }

    /// Waits until a worker ends, which none does by itself.
    pub(super) async fn ended(&mut self) -> TidemillError {
        self.cluster.worker_ended().await
    }

    /// Waits for the jobs that end by themselves.
    pub(super) async fn finish(&mut self, screen: &mut Screen) -> Result<()> {
        tokio::select! {
            () = self.session.finish() => Ok(()),
            _ = screen.interrupts.next() => Ok(()),
            error = self.cluster.worker_ended() => Err(error),
        }
    }

    /// Ends all jobs. If the process is told to end, what is not done in time is left to a later one.
    pub(super) async fn close(&mut self, has_to_end: bool) -> Result<()> {
        if !has_to_end {
            return Ok(self.session.close().await?);
        }
        for job in self.session.interrupt().await? {
            say(&suspended(job));
        }
        Ok(())
    }
}

/// Shows what statements come to.
struct Showing<'a> {
    cluster: &'a mut LocalCluster,
    screen: &'a mut Screen,
}

/// How a job has ended that somebody has watched.
struct Watched {
    status: JobStatus,
    is_interrupted: bool,
}

impl Showing<'_> {
    async fn show(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Done(message) => say(&message),
            Reply::Saves(saving) => say(&saving.wait().await?.message),
            Reply::Appends(appending) => self.append(appending).await?,
            Reply::Drops(dropping) => say(&dropping.wait().await?),
            Reply::Begun(beginning) => self.wait(beginning).await?,
            Reply::Ends(ending) => drop(ending.wait().await?),
            Reply::Trains(training) => self.train(training).await?,
            Reply::Rows(rows) => output::print(self.screen.format, &rows.schema(), &[rows])?,
            Reply::Query(query) => self.follow(query).await?,
            Reply::Analysis(analysis) => self.analyze(analysis).await?,
        }
        Ok(())
    }

    /// Waits until a view can be read. It goes on if nobody waits any more.
    async fn wait(&mut self, beginning: Beginning) -> Result<()> {
        tokio::select! {
            () = beginning.wait() => Ok(()),
            _ = self.screen.interrupts.next() => self.screen.stopped(),
        }
    }

    /// Waits until a model is fitted. It is, too, if nobody waits any more.
    async fn train(&mut self, training: Training) -> Result<()> {
        let mut waiting = self.screen.is_terminal.then(Waiting::new);
        waiting.iter_mut().for_each(|waiting| waiting.tell(Some(String::from("training"))));
        let mut refresh = interval_at(Instant::now() + PATIENCE, REFRESH);
        let mut trained = std::pin::pin!(training.wait());
        let trained = loop {
            tokio::select! {
                trained = &mut trained => break Some(trained),
                _ = self.screen.interrupts.next() => break None,
                _ = refresh.tick() => waiting.iter_mut().for_each(|waiting| waiting.show(None)),
            }
        };
        waiting.iter_mut().for_each(Waiting::clear);
        let Some(message) = trained else {
            say("the model is still trained; SHOW JOBS tells how long, and STOP JOB ends it");
            return self.screen.stopped();
        };
        message.iter().for_each(|message| say(message));
        Ok(())
    }

    /// Waits until rows are written.
    async fn append(&mut self, appending: Appending) -> Result<()> {
        let progress = appending.progress().filter(|_| self.screen.is_terminal);
        let mut waiting = progress.is_some().then(Waiting::new);
        let mut refresh = interval_at(Instant::now() + PATIENCE, REFRESH);
        let mut appended = std::pin::pin!(appending.wait());
        let appended = loop {
            tokio::select! {
                appended = &mut appended => break appended,
                _ = refresh.tick() => if let (Some(waiting), Some(progress)) = (&mut waiting, &progress) {
                    waiting.tell(Some(progress.borrow().to_string()));
                    waiting.show(None);
                },
            }
        };
        waiting.iter_mut().for_each(Waiting::clear);
        say(&appended?.message);
        Ok(())
    }

    /// Follows a statement to its end, or to an interrupt, and shows what its operators did.
    async fn analyze(&mut self, analysis: Analysis) -> Result<()> {
        let Analysis { mut job, warnings, graph, sinks, result } = analysis;
        self.screen.warn(&warnings);
        let mut results = Results::of_job(self.screen.format, [], &graph);
        result.iter().for_each(|result| results.do_without(result));
        let progress = self.screen.is_terminal.then(|| Progress::new(&graph).of(&job));
        self.watch(&mut job, &mut results, progress, StopMode::Drain).await?;
        let plan = output::plan(&explain_analyze(&graph, &sinks, &job.metrics.borrow()))?;
        output::print(self.screen.format, &plan.schema(), &[plan])
    }

    /// Follows a SELECT to its end, or to an interrupt.
    async fn follow(&mut self, query: Query) -> Result<()> {
        let Query { mut job, warnings, graph, result } = query;
        self.screen.warn(&warnings);
        self.screen.announce(result.live);
        let mut results = Results::of_job(self.screen.format, [result.clone()], &graph);
        results.begin()?;
        let progress = (self.screen.is_terminal && !result.live).then(|| Progress::new(&graph).of(&job));
        let Watched { status, is_interrupted } = self.watch(&mut job, &mut results, progress, StopMode::Cancel).await?;
        if status != JobStatus::Stopped || result.live {
            results.print(&result)?;
        }
        if is_interrupted { self.screen.stopped() } else { Ok(()) }
    }

    /// Takes a job's rows until it has ended, which is an error if it has failed. Once nobody wants more, and at
    /// an interrupt, it is stopped in this mode; a second interrupt does not wait.
    async fn watch(
        &mut self,
        job: &mut JobHandle,
        results: &mut Results,
        mut progress: Option<Progress>,
        mode: StopMode,
    ) -> Result<Watched> {
        let mut at_interrupt = mode;
        let mut is_interrupted = false;
        let mut refresh = interval_at(Instant::now() + PATIENCE, REFRESH);
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
                _ = self.screen.interrupts.next() => {
                    is_interrupted = true;
                    job.stop(at_interrupt).await?;
                    at_interrupt = StopMode::Cancel;
                }
                _ = refresh.tick(), if progress.is_some() => {
                    progress.iter_mut().for_each(|progress| progress.show(&job.metrics.borrow()));
                }
                error = self.cluster.worker_ended() => return Err(error),
            }
        }
        progress.iter_mut().for_each(Progress::clear);
        match job.wait().await {
            JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
            status => Ok(Watched { status, is_interrupted }),
        }
    }
}
