//! The bank: money that moves between accounts while processes are killed.
//!
//! Each transfer takes from one account what it gives to another, so over all accounts the sum is zero: in
//! every window, and of the balances at every epoch. A row that is lost, counted twice, or counted on one side
//! only shows in it. After "Internal consistency in streaming systems" (scattered-thoughts.net, 2021).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Folder, Output, PATIENCE, Run};

const ACCOUNTS: u64 = 10;

/// How far transfers are out of order, in seconds.
const DISORDER: u64 = 10;

/// Transfers a second, of which there are two seconds in each of event time.
const RATE: usize = 2000;

/// How long a job with so many transfers and kills may take.
const LIMIT: Duration = Duration::from_secs(600);

/// A small generator (xorshift64*), so that every run of a test does the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

fn transfers(count: usize, random: &mut Random) -> String {
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

fn script(parallelism: usize) -> String {
    format!(
        "SET checkpoint_interval = '200ms';
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
struct Bank {
    folder: Folder,
    run: Run,
    random: Random,
    transfers: usize,
}

impl Bank {
    fn open(transfers: usize, parallelism: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let folder = Folder::with(&[("transfers.csv", &self::transfers(transfers, &mut random))]);
        let run = folder.start(&script(parallelism), &["--workers", "2", "--data-dir", "meta"]);
        Self { folder, run, random, transfers }
    }

    /// Complete files of a sink, by name.
    fn files(&self, sink: &str) -> BTreeSet<String> {
        let listed = fs::read_dir(self.folder.path(sink)).into_iter().flatten();
        let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with("inprogress")).collect()
    }

    /// Waits until some more checkpoints have been committed.
    #[track_caller]
    fn wait_for_commits(&self, more: usize) {
        let wanted = self.files("kept").len() + more;
        let tries = PATIENCE.as_millis() / 10;
        for _ in 0..tries {
            if self.files("kept").len() >= wanted {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no more files in {PATIENCE:?}");
    }

    fn kill_a_worker(&mut self) {
        let workers = children(self.run.pid);
        if !workers.is_empty() {
            let which = self.random.below(workers.len() as u64) as usize;
            kill(workers[which]);
        }
    }

    /// Kills the coordinator and, as when a machine goes down, all that it had started.
    fn kill_everybody(self) -> Self {
        let workers = children(self.run.pid);
        self.run.signal("KILL");
        workers.into_iter().for_each(kill);
        self.resume()
    }

    /// Kills the coordinator alone: its workers go on until they notice.
    fn kill_the_coordinator(self) -> Self {
        self.run.signal("KILL");
        self.resume()
    }

    fn resume(self) -> Self {
        // The data folder is in use until the process is gone.
        self.run.wait_killed();
        let arguments = ["resume", "--workers", "2", "--data-dir", "meta"];
        Self { run: Run::start(&self.folder.path(""), &arguments), ..self }
    }

    /// Waits for the end and looks at the books.
    #[track_caller]
    fn close(self) {
        let Self { folder, run, transfers, .. } = self;
        let output: Output = run.output(LIMIT).success();
        check_transfers(&folder, transfers, &output);
        check_windows(&folder, transfers);
        check_balances(&folder);
    }
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn kill(pid: u32) {
    // It may be gone already.
    let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
}

/// The parts of a sink in the order of their epochs, each with its name.
fn parts(folder: &Folder, sink: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder.path(sink)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("inprogress"), "{name} was left");
        let epoch = name.split(['-', '.']).nth(2).and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        parts.push((epoch, folder.read(&format!("{sink}/{name}"))));
    }
    parts.sort();
    parts
}

fn csv_rows(folder: &Folder, sink: &str) -> Vec<String> {
    let parts = parts(folder, sink);
    parts.iter().flat_map(|(_, text)| text.lines().skip(1).map(String::from).collect::<Vec<_>>()).collect()
}

#[track_caller]
fn check_transfers(folder: &Folder, transfers: usize, output: &Output) {
    let mut kept: Vec<usize> = Vec::new();
    for row in csv_rows(folder, "kept") {
        kept.push(row.split(',').next().unwrap().parse().unwrap());
    }
    kept.sort_unstable();
    let twice = kept.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let different: BTreeSet<usize> = kept.iter().copied().collect();
    assert_eq!((different.len(), twice), (transfers, 0), "kept, kept twice; stderr:\n{}", output.stderr);
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
