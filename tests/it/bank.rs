//! The bank: money that moves between accounts while processes are killed.
//!
//! Each transfer takes from one account what it gives to another, so over all accounts the sum is zero: in
//! every window, and of the balances at every epoch. A row that is lost, counted twice, or counted on one side
//! only shows in it. After "Internal consistency in streaming systems" (scattered-thoughts.net, 2021).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::command::{Folder, Output, Run};
use crate::killed::{Random, csv_rows, kill_a_worker, kill_all, parts, wait_for_commits};

const ACCOUNTS: u64 = 10;

/// How far transfers are out of order, in seconds.
const DISORDER: u64 = 10;

/// Transfers a second, of which there are two seconds in each of event time.
const RATE: usize = 2000;

/// How long a job with so many transfers and kills may take.
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn transfers(count: usize, random: &mut Random) -> String {
    let mut text = String::from("id,payer,payee,amount,ts\n");
    for id in 0..count {
        let seconds = DISORDER + id as u64 / 1000 - random.below(DISORDER);
        let (payer, payee) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
        let amount = 1 + random.below(100);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        text.push_str(&format!("{id},{payer},{payee},{amount},2024-01-01 {hours:02}:{minutes:02}:{seconds:02}\n"));
    }
    text
}

pub(crate) fn script(settings: &str, parallelism: usize) -> String {
    format!(
        "{settings}
         SET checkpoint_interval = '200ms';
         SET restart_delay = '50ms';
         SET restart_delay_max = '200ms';
         SET restart_attempts = 1000;
         SET parallelism = {parallelism};
         CREATE SOURCE transfers (id BIGINT, payer BIGINT, payee BIGINT, amount BIGINT, ts TIMESTAMP,
                                  WATERMARK FOR ts AS ts - INTERVAL '{DISORDER} seconds')
           WITH (connector = 'files', path = 'transfers.csv', format = 'csv', rows_per_second = {RATE});
         CREATE VIEW legs AS SELECT payer AS account, -amount AS delta, ts FROM transfers
           UNION ALL SELECT payee, amount, ts FROM transfers;
         CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS
           SELECT id, payer, payee, amount FROM transfers;
         CREATE SINK windows WITH (connector = 'files', path = 'windows', format = 'csv') AS
           SELECT window_end, sum(delta) AS total, count(*) AS legs
           FROM TUMBLE(TABLE legs, DESCRIPTOR(ts), INTERVAL '2 seconds') GROUP BY window_start, window_end;
         CREATE SINK balances WITH (connector = 'files', path = 'balances', format = 'debezium-json') AS
           SELECT account, sum(delta) AS balance FROM legs GROUP BY account;"
    )
}

/// A bank whose job runs on worker processes.
pub(crate) struct Bank {
    pub(crate) folder: Folder,
    pub(crate) run: Run,
    random: Random,
    transfers: usize,
    /// What the environment of its processes has.
    variables: Vec<(String, String)>,
}

impl Bank {
    fn open(transfers: usize, parallelism: usize, seed: u64) -> Self {
        let script = script("", parallelism);
        Self::open_in(transfers, seed, |folder| folder.start(&script, &["--workers", "2", "--data-dir", "meta"]))
    }

    /// A bank with settings of its own, whose processes have these variables in their environment.
    pub(crate) fn open_with(transfers: usize, seed: u64, settings: &str, variables: &[(String, String)]) -> Self {
        let script = script(settings, 2);
        let bank = Self::open_in(transfers, seed, |folder| {
            folder.write("script.sql", script);
            let arguments = ["run", "script.sql", "--workers", "2", "--data-dir", "meta"];
            Run::start_with(&folder.path(""), &arguments, variables)
        });
        Self { variables: variables.to_vec(), ..bank }
    }

    /// A bank that listens to its shell; the statements are one job.
    fn open_in_shell(transfers: usize, parallelism: usize, workers: &[&str]) -> Self {
        let mut bank = Self::open_in(transfers, parallelism as u64, |folder| {
            folder.write("bank.sql", script("", parallelism));
            folder.open_shell(&[&["--data-dir", "meta"], workers].concat())
        });
        bank.run.say("\\i bank.sql");
        bank
    }

    /// Another process with another job, which begins from a savepoint.
    fn begin_from(self, number: u32, parallelism: usize) -> Self {
        let Self { folder, run, .. } = self;
        run.output(LIMIT).success();
        folder.write("bank.sql", script(&format!("SET from_savepoint = 'saved-{number}';"), parallelism));
        let mut run = folder.open_shell(&["--data-dir", &format!("meta-{number}")]);
        run.say("\\i bank.sql");
        Self { folder, run, ..self }
    }

    fn open_in(transfers: usize, seed: u64, start: impl FnOnce(&Folder) -> Run) -> Self {
        let mut random = Random(seed);
        let folder = Folder::with(&[("transfers.csv", &self::transfers(transfers, &mut random))]);
        let run = start(&folder);
        Self { folder, run, random, transfers, variables: Vec::new() }
    }

    /// Waits until some more checkpoints have been committed.
    #[track_caller]
    pub(crate) fn wait_for_commits(&self, more: usize) {
        wait_for_commits(&self.folder, "kept", more);
    }

    pub(crate) fn kill_a_worker(&mut self) {
        kill_a_worker(&self.run, &mut self.random);
    }

    /// Kills the coordinator and, as when a machine goes down, all that it had started.
    fn kill_everybody(self) -> Self {
        kill_all(&self.run);
        self.resume()
    }

    /// Kills the coordinator alone: its workers go on until they notice.
    fn kill_the_coordinator(self) -> Self {
        self.run.signal("KILL");
        // The data folder is in use until the process is gone.
        self.run.wait_killed();
        self.resume()
    }

    pub(crate) fn resume(self) -> Self {
        let arguments = ["resume", "--workers", "2", "--data-dir", "meta"];
        Self { run: Run::start_with(&self.folder.path(""), &arguments, &self.variables), ..self }
    }

    /// Waits for the end and looks at the books.
    #[track_caller]
    pub(crate) fn close(self) {
        let Self { folder, run, transfers, .. } = self;
        let output: Output = run.output(LIMIT).success();
        check_books(&folder, transfers, &output.stderr);
    }
}

/// Looks at the books; `log` is shown with what is wrong.
#[track_caller]
pub(crate) fn check_books(folder: &Folder, transfers: usize, log: &str) {
    check_transfers(folder, transfers, log);
    check_windows(folder, transfers);
    check_balances(folder);
}

#[track_caller]
fn check_transfers(folder: &Folder, transfers: usize, log: &str) {
    let mut kept: Vec<usize> = Vec::new();
    for row in csv_rows(folder, "kept") {
        kept.push(row.split(',').next().unwrap().parse().unwrap());
    }
    kept.sort_unstable();
    let twice = kept.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let different: BTreeSet<usize> = kept.iter().copied().collect();
    assert_eq!((different.len(), twice), (transfers, 0), "kept, kept twice; stderr:\n{log}");
}

#[track_caller]
fn check_windows(folder: &Folder, transfers: usize) {
    let mut legs = 0;
    let mut ends = BTreeSet::new();
    for row in csv_rows(folder, "windows") {
        let values: Vec<&str> = row.split(',').collect();
        assert_eq!(values[1], "0", "the total of a window: {row}");
        legs += values[2].parse::<usize>().unwrap();
        assert!(ends.insert(values[0].to_owned()), "a window was emitted twice: {row}");
    }
    assert_eq!(legs, 2 * transfers, "each transfer counts once on each side");
}

/// The sum of the balances is zero after each epoch of which there are files.
#[track_caller]
fn check_balances(folder: &Folder) {
    let mut balances: BTreeMap<u64, i64> = BTreeMap::new();
    let parts = parts(folder, "balances");
    let epochs: BTreeSet<u64> = parts.iter().map(|(epoch, _)| *epoch).collect();
    for epoch in epochs {
        for (_, text) in parts.iter().filter(|(of, _)| *of == epoch) {
            for line in text.lines() {
                let change: Value = serde_json::from_str(line).unwrap();
                let side = |side: &str| Some((change[side]["account"].as_u64()?, change[side]["balance"].as_i64()?));
                if let Some((account, balance)) = side("before") {
                    assert_eq!(balances.remove(&account), Some(balance), "taken back: {line}");
                }
                if let Some((account, balance)) = side("after") {
                    assert_eq!(balances.insert(account, balance), None, "there before: {line}");
                }
            }
        }
        assert_eq!(balances.values().sum::<i64>(), 0, "after epoch {epoch}: {balances:?}");
    }
    assert_eq!(balances.len() as u64, ACCOUNTS);
}

#[test]
fn not_a_transfer_is_lost_or_doubled_while_processes_are_killed() {
    let mut bank = Bank::open(16_000, 2, 7);
    for _ in 0..2 {
        bank.wait_for_commits(2);
        bank.kill_a_worker();
    }
    bank.wait_for_commits(2);
    bank = bank.kill_everybody();
    for _ in 0..2 {
        bank.wait_for_commits(2);
        bank.kill_a_worker();
    }
    bank.close();
}

/// Waits for some checkpoints, then goes on with other numbers of instances, one after the other.
fn check_rescaled(transfers: usize, parallelisms: &[usize], workers: &[&str]) {
    let mut bank = Bank::open_in_shell(transfers, parallelisms[0], workers);
    for parallelism in &parallelisms[1..] {
        // One of them may be of the attempt that a change before this one has ended.
        bank.wait_for_commits(3);
        bank.run.say(&format!("ALTER JOB balances SET parallelism = {parallelism};"));
        bank.run.wait_for_line("ALTER ");
    }
    bank.wait_for_commits(3);
    bank.close();
}

#[test]
fn the_books_are_right_whatever_the_parallelism_changes_to() {
    check_rescaled(12_000, &[2, 3, 1, 4], &[]);
}

#[test]
fn the_books_are_right_on_worker_processes_whose_number_of_tasks_changes() {
    check_rescaled(12_000, &[2, 3, 1, 4], &["--workers", "2"]);
}

#[test]
fn the_books_are_right_when_the_job_moves_from_savepoint_to_savepoint() {
    let mut bank = Bank::open_in_shell(8_000, 2, &[]);
    for (number, parallelism) in [(1, 3), (2, 1)] {
        bank.wait_for_commits(3);
        bank.run.stop_with_savepoint("balances", &format!("saved-{number}"));
        bank = bank.begin_from(number, parallelism);
    }
    bank.wait_for_commits(3);
    bank.close();
}

#[test]
#[ignore = "takes ten minutes; cargo test --test it bank -- --ignored"]
fn fifty_kills_at_any_parallelism_lose_and_double_nothing() {
    for parallelism in 1..=4 {
        let mut bank = Bank::open(60_000, parallelism, parallelism as u64);
        for kill in 0..14 {
            let commits = 1 + bank.random.below(4) as usize;
            bank.wait_for_commits(commits);
            match kill % 5 {
                4 => bank = bank.kill_everybody(),
                2 if kill > 6 => bank = bank.kill_the_coordinator(),
                _ => bank.kill_a_worker(),
            }
        }
        bank.close();
    }
}
