//! What a running job is doing, on standard error: one line that is kept current on a terminal, a
//! line a second elsewhere, and a summary at the end.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tidemill_coordinator::JobHandle;
use tidemill_engine::clock;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::NodeKind;
use tidemill_plans::protocol::OperatorMetrics;
use tidemill_plans::time::EventTime;
use tokio::sync::watch;

use crate::say::say;

/// How often a terminal's line is brought up to date.
pub const REFRESH: Duration = Duration::from_millis(200);

/// How long people wait before they want to know what for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Nanoseconds between two lines where there is no terminal.
const LINE_EVERY_NS: u64 = 1_000_000_000;

/// How far one source must be behind another to be named, in microseconds of event time.
const HELD_BACK_US: i64 = 60_000_000;

/// The progress of one job.
pub struct Progress {
    kinds: HashMap<OperatorId, Kind>,
    /// How far it is, if it is a query that runs as a whole.
    whole: Option<watch::Receiver<BatchProgress>>,
    bar: Option<ProgressBar>,
    started_ns: u64,
    last_line_ns: u64,
}

/// What an operator's metrics mean for the whole job.
enum Kind {
    /// A source, with its name if it has event time.
    Source(Option<String>),
    Train(String),
    /// A sink that keeps nothing but a count.
    Blackhole(String),
    Other,
}

/// The metrics of a job, added up.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    rows_in: u64,
    late: u64,
    dead_letters: u64,
    event_time: Option<EventTime>,
    /// The source that is farthest behind, where another has come farther.
    slowest: Option<(EventTime, String)>,
    watermark: Option<EventTime>,
    models: Vec<(String, f64)>,
    /// Rows, and their checksum, by the sink that counts them.
    counted: BTreeMap<String, (u64, Option<u64>)>,
}

impl Progress {
    /// Progress of a job with this graph, from now on.
    #[must_use]
    pub fn new(graph: &DataflowGraph) -> Self {
        let kind = |kind: &NodeKind| match kind {
            NodeKind::Source(source) => Kind::Source(source.event_time.as_ref().map(|_| source.table.clone())),
            NodeKind::Train(train) => Kind::Train(train.model.clone()),
            NodeKind::Fit(fit) => Kind::Train(fit.model.clone()),
            NodeKind::Sink(sink) if sink.connector == "blackhole" => Kind::Blackhole(sink.table.clone()),
            _ => Kind::Other,
        };
        let bar = bar();
        let now = clock::monotonic_ns();
        let kinds = graph.nodes.iter().map(|node| (node.id, kind(&node.kind))).collect();
        Self { kinds, whole: None, bar, started_ns: now, last_line_ns: now }
    }

    /// The same of a job that may be a query that runs as a whole.
    #[must_use]
    pub fn of(self, job: &JobHandle) -> Self {
        Self { whole: job.progress.clone(), ..self }
    }

    /// Shows where the job is.
    pub fn show(&mut self, metrics: &[OperatorMetrics]) {
        let line = match self.whole.as_ref().map(|whole| *whole.borrow()) {
            Some(progress) => worded(&progress.to_string(), self.started_ns),
            None => self.line(&self.add_up(metrics)),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => {
                let now = clock::monotonic_ns();
                if now.saturating_sub(self.last_line_ns) >= LINE_EVERY_NS {
                    self.last_line_ns = now;
                    say(&line);
                }
            }
        }
    }

    /// Does something while the line is out of the way.
    pub fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Ends without one more word.
    pub fn clear(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    /// Ends with a summary.
    pub fn finish(&mut self, metrics: &[OperatorMetrics]) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let totals = self.add_up(metrics);
        let mut line = format!("{} rows in {:.2} s", HumanCount(totals.rows_in), self.seconds());
        line.push_str(&format!(" ({} rows/s)", HumanCount(self.rate(&totals))));
        for (what, rows) in [("late", totals.late), ("to dead letters", totals.dead_letters)] {
            if rows > 0 {
                line.push_str(&format!(", {} {what}", HumanCount(rows)));
            }
        }
        for (model, auc) in &totals.models {
            line.push_str(&format!(", model {model} auc {auc:.4}"));
        }
        for (table, (rows, checksum)) in &totals.counted {
            line.push_str(&format!(", {} into {table}", HumanCount(*rows)));
            line.push_str(&checksum.map(|sum| format!(" (checksum {sum:016x})")).unwrap_or_default());
        }
        say(&line);
    }

    fn seconds(&self) -> f64 {
        clock::monotonic_ns().saturating_sub(self.started_ns) as f64 / 1e9
    }

    fn rate(&self, totals: &Totals) -> u64 {
        (totals.rows_in as f64 / self.seconds().max(1e-3)) as u64
    }

    fn add_up(&self, metrics: &[OperatorMetrics]) -> Totals {
        let mut totals = Totals::default();
        let mut sources: HashMap<OperatorId, i64> = HashMap::new();
        let mut times: Vec<(EventTime, String)> = Vec::new();
        for operator in metrics {
            totals.late += operator.late_rows;
            totals.dead_letters += operator.dead_letter_rows;
            match self.kinds.get(&operator.operator) {
                Some(Kind::Source(table)) => {
                    totals.rows_in += operator.rows_in;
                    // Idle ones hold nobody up, and those at an end neither.
                    if let Some(table) = table
                        && !operator.idle
                        && operator.watermark < i64::MAX
                    {
                        times.push((EventTime(operator.watermark), format!("{table} ({})", operator.subtask)));
                    }
                    let newest = sources.entry(operator.operator).or_insert(i64::MIN);
                    *newest = (*newest).max(operator.event_time);
                }
                Some(Kind::Train(model)) => {
                    totals.models.extend(operator.quality.map(|auc| (model.clone(), auc)));
                }
                Some(Kind::Blackhole(table)) => {
                    let (rows, checksum) = totals.counted.entry(table.clone()).or_default();
                    *rows += operator.rows_in;
                    *checksum = checksum
                        .map_or(operator.checksum, |sum| Some(sum.wrapping_add(operator.checksum.unwrap_or_default())));
                }
                _ => {}
            }
            // Time has come as far as the operator that is farthest behind. Where no row has come yet,
            // and where all have, there is nothing to wait for.
            if operator.watermark > i64::MIN && operator.watermark < i64::MAX {
                let watermark = EventTime(operator.watermark);
                totals.watermark = Some(totals.watermark.map_or(watermark, |least| least.min(watermark)));
            }
        }
        times.sort();
        if let (Some(first), Some(last)) = (times.first(), times.last())
            && last.0.0.saturating_sub(first.0.0) > HELD_BACK_US
        {
            totals.slowest = Some(first.clone());
        }
        // The job is where its slowest source is.
        let times = sources.into_values().filter(|time| *time > i64::MIN);
        totals.event_time = times.min().map(EventTime);
        totals
    }

    fn line(&self, totals: &Totals) -> String {
        let mut line = format!("{} rows, {} rows/s", HumanCount(totals.rows_in), HumanCount(self.rate(totals)));
        if let Some(time) = totals.event_time {
            line.push_str(&format!(", event time {time}"));
            if let Some(watermark) = totals.watermark {
                let hours = time.0.saturating_sub(watermark.0).max(0) as f64 / 3.6e9;
                line.push_str(&format!(", watermark lag {hours:.1} h"));
            }
        }
        if let Some((time, source)) = &totals.slowest {
            line.push_str(&format!(", held back by {source} at {time}"));
        }
        for (model, auc) in &totals.models {
            line.push_str(&format!(", model {model} auc {auc:.4}"));
        }
        line
    }
}

/// The progress of a statement elsewhere, of which nothing may be known but what has come of it.
pub struct Waiting {
    bar: Option<ProgressBar>,
    started_ns: u64,
    /// How far it is, if that has been said.
    words: Option<String>,
}

impl Waiting {
    /// From now on.
    #[must_use]
    pub fn new() -> Self {
        Self { bar: bar(), started_ns: clock::monotonic_ns(), words: None }
    }

    /// Takes note of how far it is, in words; nothing once that is not said any more.
    pub fn tell(&mut self, words: Option<String>) {
        self.words = words;
    }

    /// Shows how far it is, or how long it has been, and how many rows there are by now, if any are to come.
    pub fn show(&mut self, rows: Option<u64>) {
        if let Some(words) = &self.words {
            if let Some(bar) = &self.bar {
                bar.set_message(worded(words, self.started_ns));
                bar.tick();
            }
            return;
        }
        let seconds = seconds_since(self.started_ns);
        let rows = rows.map(|rows| format!(", {} rows", HumanCount(rows))).unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{seconds} s{rows}; Ctrl-C stops"));
            bar.tick();
        }
    }

    /// Ends without one more word.
    pub fn clear(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a query is that runs as a whole, and since when.
fn worded(words: &str, started_ns: u64) -> String {
    format!("{words}  {} s", seconds_since(started_ns))
}

fn seconds_since(started_ns: u64) -> u64 {
    clock::monotonic_ns().saturating_sub(started_ns) / 1_000_000_000
}

/// A line that is kept current, if standard error is a terminal. It is no longer than that is wide.
fn bar() -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("~≈≋≈ "));
        bar
    })
}
