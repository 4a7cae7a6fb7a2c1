//! What tests share that kill processes, and look at the files that jobs leave epoch by epoch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::command::{Folder, PATIENCE, Run};

/// A small generator (xorshift64*), so that every run of a test does the same.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// The processes that a process has started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

pub(crate) fn kill(pid: u32) {
    // It may be gone already.
    let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
}

/// Kills one of the workers of a run, if there are any.
pub(crate) fn kill_a_worker(run: &Run, random: &mut Random) {
    let workers = children(run.pid);
    if !workers.is_empty() {
        kill(workers[random.below(workers.len() as u64) as usize]);
    }
}

/// Kills a run and, as when a machine goes down, all that it has started; returns when they are gone.
#[track_caller]
pub(crate) fn kill_all(run: &Run) {
    let workers = children(run.pid);
    run.signal("KILL");
    workers.iter().copied().for_each(kill);
    run.wait_killed();
    for _ in 0..PATIENCE.as_millis() / 10 {
        if !workers.iter().any(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok()) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{workers:?} survive SIGKILL");
}

/// The files below a folder, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The manifests of the checkpoints below `meta`, the newest last.
pub(crate) fn manifests(folder: &Folder) -> Vec<PathBuf> {
    let mut found = files_below(&folder.path("meta/checkpoints"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    found.retain(|path| path.parent().is_some_and(|folder| folder.ends_with("manifest")));
    found
}

/// Complete files of a sink, by name.
pub(crate) fn files(folder: &Folder, sink: &str) -> BTreeSet<String> {
    let listed = fs::read_dir(folder.path(sink)).into_iter().flatten();
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with("inprogress")).collect()
}

/// The epoch of a file; those of jobs without checkpoints have none.
fn epoch_of(name: &str) -> u64 {
    name.split(['-', '.']).nth(2).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// The epochs that a sink has files of.
fn epochs(folder: &Folder, sink: &str) -> BTreeSet<u64> {
    files(folder, sink).iter().map(|name| epoch_of(name)).collect()
}

/// Waits until a sink has files of some more epochs.
#[track_caller]
pub(crate) fn wait_for_commits(folder: &Folder, sink: &str, more: usize) {
    let wanted = epochs(folder, sink).len() + more;
    let tries = PATIENCE.as_millis() / 10;
    for _ in 0..tries {
        if epochs(folder, sink).len() >= wanted {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no more files of {sink} in {PATIENCE:?}");
}

/// The parts of a sink in the order of their epochs, each with its text. None may have been left incomplete.
pub(crate) fn parts(folder: &Folder, sink: &str) -> Vec<(u64, String)> {
    for entry in fs::read_dir(folder.path(sink)).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("inprogress"), "{name} was left");
    }
    complete_parts(folder, sink)
}

/// The same of a sink whose job runs.
pub(crate) fn complete_parts(folder: &Folder, sink: &str) -> Vec<(u64, String)> {
    let names = files(folder, sink).into_iter();
    let mut parts: Vec<_> = names.map(|name| (epoch_of(&name), folder.read(&format!("{sink}/{name}")))).collect();
    parts.sort();
    parts
}

/// The rows of all parts of a sink that writes CSV.
pub(crate) fn csv_rows(folder: &Folder, sink: &str) -> Vec<String> {
    let parts = parts(folder, sink);
    parts.iter().flat_map(|(_, text)| text.lines().skip(1).map(String::from).collect::<Vec<_>>()).collect()
}
