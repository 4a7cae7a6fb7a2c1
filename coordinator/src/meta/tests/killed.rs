//! A process that is killed while it writes metadata, and an index of which anything may be left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, fs, thread};

use super::*;
use crate::testing::Random;

/// Where the process writes, which is this test's program again.
const FOLDER: &str = "TIDEMILL_KILLED_WRITER";

/// The records that are written, one a commit; each tenth is removed again with a later one.
fn changes(number: usize) -> Vec<MetaChange> {
    let mut changes = vec![put(&format!("k{number:06}"), &"v".repeat(number % 700))];
    if number >= 10 && number.is_multiple_of(10) {
        changes.push((format!("k{:06}", number - 10).into(), None));
    }
    changes
}

/// What is there after so many commits.
fn sum(commits: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut sum = BTreeMap::new();
    for (key, value) in (0..commits).flat_map(changes) {
        match value {
            Some(value) => sum.insert(key, value),
            None => sum.remove(&key),
        };
    }
    sum
}

fn found(store: &JournalStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store.scan(b"k").unwrap().into_iter().collect()
}

/// How many commits a store has of those that were begun.
fn commits(store: &JournalStore, at_least: usize) -> usize {
    let found = found(store);
    let commits = (at_least..=at_least + 1).find(|commits| sum(*commits) == found);
    commits.unwrap_or_else(|| panic!("{at_least} commits were acknowledged; there are {} keys", found.len()))
}

#[test]
#[ignore = "is run by others, who kill it"]
#[expect(clippy::print_stdout, reason = "says which commits are acknowledged")]
fn write_until_killed() {
    let Ok(folder) = env::var(FOLDER) else { return };
    run(async {
        let mut store = JournalStore::in_folder(Path::new(&folder)).await.unwrap();
        let found = found(&store);
        let next = found.last_key_value().map_or(0, |(key, _)| 1 + text(&key[1..]).parse::<usize>().unwrap());
        for number in next.. {
            store.commit(changes(number)).await.unwrap();
            println!("committed {}", number + 1);
        }
    });
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A process that writes, and the numbers of its commits as they are acknowledged.
fn start(folder: &Path) -> (Child, Receiver<usize>) {
    let mut writer = Command::new(env::current_exe().unwrap())
        .args(["--exact", "meta::tests::killed::write_until_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let (sender, committed) = channel();
    thread::spawn(move || {
        // A line may be cut by the kill, but not behind its number: the last one may not be whole.
        for line in lines.map_while(Result::ok) {
            if let Some((_, number)) = line.split_once("committed ") {
                let _ = sender.send(number.parse().unwrap());
            }
        }
    });
    (writer, committed)
}

/// Kills a writer again and again at random moments.
fn check_kills(kills: usize, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut acknowledged = 0;
    for kill in 0..kills {
        let (mut writer, committed) = start(folder.path());
        // Mostly while it writes; now and then while it opens.
        if kill % 5 > 0 {
            acknowledged = committed.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        writer.kill().unwrap();
        writer.wait().unwrap();
        acknowledged = committed.iter().last().unwrap_or(acknowledged);
        run(async {
            let store = JournalStore::in_folder(folder.path()).await.unwrap();
            acknowledged = commits(&store, acknowledged);
        });
    }
    assert!(acknowledged > kills, "{acknowledged} commits in {kills} kills");
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    check_kills(6, 7);
}

#[test]
#[ignore = "takes a minute; cargo test --workspace --lib a_hundred_kills -- --ignored"]
fn what_was_acknowledged_outlives_a_hundred_kills() {
    check_kills(100, 11);
}

/// The files of an index, and what is in them.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(self::files(&path))
        } else {
            found.push((path.clone(), fs::read(path).unwrap()))
        }
    }
    found.sort();
    found
}

#[test]
fn whatever_is_left_of_an_index_all_records_are_found() {
    const COMMITS: usize = 120;
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
        for number in 0..COMMITS {
            store.commit(changes(number)).await.unwrap();
        }
    });
    let index = folder.path().join("meta-index");
    let whole = files(&index);
    let mut random = Random::new(5);
    for trial in 0..120 {
        // Also what an earlier trial has moved aside.
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).for_each(|path| {
            if !path.ends_with("meta") {
                fs::remove_dir_all(path).unwrap();
            }
        });
        for (path, bytes) in &whole {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let (path, bytes) = &whole[random.below(whole.len())];
        // What was written, and not the room behind it.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut damaged = bytes.clone();
        match trial % 4 {
            _ if used == 0 => fs::remove_file(path).unwrap(),
            0 => damaged.truncate(random.below(used)),
            1 => damaged[random.below(used)] ^= 1 << random.below(8),
            2 => (0..8).for_each(|_| damaged[random.below(used)] = random.below(256) as u8),
            _ => {
                let start = random.below(used);
                damaged[start..used.min(start + 4096)].fill(0);
            }
        }
        if used > 0 {
            fs::write(path, damaged).unwrap();
        }
        run(async {
            let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
            assert_eq!(found(&store), sum(COMMITS), "trial {trial} in {}", path.display());
            store.commit(vec![put("more", "v")]).await.unwrap();
        });
    }
}
