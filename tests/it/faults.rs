//! What is damaged, full or gone: checkpoints, the disk that they are on, and the index of the metadata.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill_plans::checkpoint::Manifest;

use crate::bank::Bank;
use crate::command::PATIENCE;
use crate::killed::{files_below, kill_all, manifests};

/// What can happen to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    CutShort,
    BitFlipped,
    Gone,
}

const DAMAGES: [Damage; 3] = [Damage::CutShort, Damage::BitFlipped, Damage::Gone];

impl Damage {
    fn befall(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::CutShort => bytes.truncate(bytes.len() / 2),
            Self::BitFlipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// The largest file of state of the checkpoint that a manifest is of.
fn state_of(path: &Path) -> PathBuf {
    let storage = path.ancestors().nth(3).unwrap();
    let manifest = Manifest::from_bytes(&fs::read(path).unwrap(), "the manifest").unwrap();
    let files = manifest.tasks.into_iter().flat_map(|(_, state)| state.files);
    storage.join(files.max_by_key(|file| file.bytes).unwrap().path)
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_and_no_row_is_lost_or_doubled() {
    let mut bank = Bank::open_with(24_000, 3, "", &[]);
    for damage in DAMAGES {
        bank.wait_for_commits(3);
        kill_all(&bank.run);
        let manifest = manifests(&bank.folder).pop().unwrap();
        damage.befall(&state_of(&manifest));
        bank = bank.resume();
        bank.run.wait_for_line("cannot be restored");
        if let Damage::Gone = damage {
            continue;
        }
        bank.wait_for_commits(3);
        kill_all(&bank.run);
        damage.befall(&manifests(&bank.folder).pop().unwrap());
        bank = bank.resume();
        bank.run.wait_for_line("checkpoint passed over");
    }
    bank.close();
}

#[test]
fn without_a_checkpoint_that_can_be_read_nothing_is_written() {
    for is_state in [false, true] {
        let bank = Bank::open_with(8_000, 5, "", &[]);
        bank.wait_for_commits(3);
        kill_all(&bank.run);
        // Two of them may be of one state: an attempt seals the checkpoint again that it begins with.
        let damaged: BTreeSet<PathBuf> =
            manifests(&bank.folder).into_iter().map(|path| if is_state { state_of(&path) } else { path }).collect();
        damaged.iter().for_each(|path| Damage::CutShort.befall(path));
        let written = files_below(&bank.folder.path("kept"));
        let bank = bank.resume();
        let message = bank.run.output(PATIENCE).failure();
        assert!(message.contains("error: ") && message.contains("none of the checkpoints of job-1"), "{message}");
        if !is_state {
            assert_eq!(files_below(&bank.folder.path("kept")), written);
        }
    }
}

#[test]
fn a_job_goes_on_while_its_storage_is_gone() {
    let bank = Bank::open_with(16_000, 9, "SET checkpoint_storage = 'storage';", &[]);
    let (storage, away) = (bank.folder.path("storage"), bank.folder.path("away"));
    bank.wait_for_commits(2);
    fs::rename(&storage, &away).unwrap();
    fs::write(&storage, "a file").unwrap();
    bank.run.wait_for_line("barrier given up");
    fs::remove_file(&storage).unwrap();
    fs::rename(&away, &storage).unwrap();
    bank.wait_for_commits(2);
    bank.close();
}

/// A disk of 8 MiB, as long as this lives.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    /// None where the system does not let us have one.
    pub(crate) fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }

    /// Fills it for as long as something takes.
    fn fill_until(&self, done: impl FnOnce()) {
        let filler = self.0.join("filler");
        let _ = fs::write(&filler, vec![7; 16 << 20]).unwrap_err();
        done();
        fs::remove_file(filler).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says that it could not test anything")]
fn a_job_goes_on_while_its_storage_is_full() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path().join("disk")) else {
        eprintln!("no disk can be mounted here, so none is full");
        return;
    };
    let settings = format!("SET checkpoint_storage = '{}';", disk.0.display());
    let bank = Bank::open_with(16_000, 13, &settings, &[]);
    bank.wait_for_commits(2);
    disk.fill_until(|| bank.run.wait_for_line("No space left on device"));
    bank.wait_for_commits(2);
    bank.close();
}

#[test]
#[expect(clippy::print_stderr, reason = "says that it could not test anything")]
fn a_job_without_room_for_its_state_begins_again_until_it_has_some_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path().join("disk")) else {
        eprintln!("no disk can be mounted here, so none is full");
        return;
    };
    let scratch = (String::from("TIDEMILL_SCRATCH"), disk.0.display().to_string());
    let bank = Bank::open_with(16_000, 19, "SET state_memory = '64KB';", &[scratch]);
    bank.wait_for_commits(2);
    disk.fill_until(|| {
        bank.run.wait_for_line(&format!("to scratch files in {}, which has 0 B left", disk.0.display()))
    });
    bank.wait_for_commits(2);
    bank.close();
}

#[test]
fn jobs_are_found_though_the_index_of_the_metadata_is_damaged() {
    let mut bank = Bank::open_with(16_000, 17, "", &[]);
    for damage in DAMAGES {
        bank.wait_for_commits(2);
        kill_all(&bank.run);
        let index = files_below(&bank.folder.path("meta/meta-index"));
        assert!(!index.is_empty());
        index.iter().filter(|path| fs::metadata(path).unwrap().len() > 0).for_each(|path| damage.befall(path));
        bank = bank.resume();
    }
    bank.close();
}
