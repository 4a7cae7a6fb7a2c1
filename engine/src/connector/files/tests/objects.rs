//! Files in a bucket, which is in memory: read in stretches, written as uploads.

use std::io::{Cursor, Read, Seek, SeekFrom};

use futures::executor::block_on;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use tidemill_plans::bucket::Bucket;
use tidemill_plans::ids::Epoch;

use super::super::parts::Parts;
use super::super::{sink, source};
use super::*;
use crate::connector::positions::check_positions;
use crate::state::{Snapshot, StateReader};

/// A bucket in memory, and files of a format in its folder `t`.
struct Stored {
    store: Arc<InMemory>,
    format: &'static str,
    /// Where the checkpoints are of the job whose sinks these are, if it has any.
    checkpoints: Option<String>,
    attempt: u32,
}

impl Stored {
    fn new(format: &'static str) -> Self {
        Self { store: Arc::default(), format, checkpoints: None, attempt: 0 }
    }

    fn committed(format: &'static str) -> Self {
        Self { checkpoints: Some(String::from("checkpoints")), ..Self::new(format) }
    }

    fn medium(&self) -> Medium {
        Medium::on(Bucket::on("s3://b/", Arc::clone(&self.store) as _))
    }

    fn options(&self) -> Vec<(String, String)> {
        [("path", "s3://b/t"), ("format", self.format)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn sink(&self) -> Box<dyn Sink> {
        let node = SinkNode { options: self.options(), ..SinkNode::new("out", "files") };
        let env = TaskEnv { attempt: self.attempt, checkpoints: self.checkpoints.clone(), ..test_env().unwrap() };
        let parts = Parts::on(&self.medium(), "s3://b/t").unwrap();
        Box::new(sink::FilesSink::open_at(parts, &node, OperatorId(1), 0, &env, rows()).unwrap())
    }

    fn source(&self) -> (Box<dyn Source>, Arc<OperatorStats>) {
        let stats = Arc::new(OperatorStats::new(JobId(0), OperatorId(0), 0));
        let bad_rows = conform::BadRows::new("t", &test_env().unwrap(), Arc::clone(&stats));
        let conform = conform::Conform::new(rows(), bad_rows);
        let node = SourceNode {
            table: String::from("t"),
            connector: String::from("files"),
            options: self.options(),
            declared: vec![String::from("v")],
            columns: StreamSchema(rows()),
            projection: Vec::new(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        let reading = format::Reading::new(&node, self.medium(), conform, 3).unwrap();
        let files = Listing::of(&self.medium(), "s3://b/t", self.format).unwrap().files;
        let share = Share { subtask: 0, parallelism: 1 };
        (Box::new(source::FilesSource::open(Arc::new(reading), &files, share).unwrap()), stats)
    }

    fn read(&self) -> String {
        let (mut source, _) = self.source();
        let mut read = Vec::new();
        loop {
            match source.next_event().unwrap() {
                SourceEvent::Batch(batch) => read.push(show_rows(&batch).unwrap().replace('\n', " ")),
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => return read.concat().trim_end().to_owned(),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let listed = block_on(self.store.list_with_delimiter(Some(&Key::from("t")))).unwrap();
        let names = listed.objects.into_iter().map(|object| object.location.filename().unwrap().to_owned());
        names.filter(|name| !name.ends_with(IN_PROGRESS)).collect()
    }

    /// Names of objects, and whose rows can be seen.
    #[track_caller]
    fn check(&self, names: &[&str], values: &str) {
        assert_eq!(self.names(), names);
        assert_eq!(if names.is_empty() { String::new() } else { self.read() }, values);
    }
}

fn rows() -> SchemaRef {
    schema("v:int")
}

fn write(sink: &mut Box<dyn Sink>, values: &str) {
    sink.write(&parse_rows(&rows(), values).unwrap()).unwrap();
}

fn snapshot(sink: &mut Box<dyn Sink>, epoch: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
    Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()
}

fn restore(sink: &mut Box<dyn Sink>, from: &Snapshot) {
    sink.restore(&StateReader::new(std::slice::from_ref(from), 0, 1)).unwrap();
}

const FIRST: &str = "part-0-0000000000.csv";
const SECOND: &str = "part-0-0000000001.csv";

#[test]
fn every_format_is_written_and_read_from_each_position() {
    for format in FORMATS {
        let stored = Stored::new(format);
        let mut sink = stored.sink();
        for values in ["1\n2\n3\n4", "5\n6\n7", "8"] {
            write(&mut sink, values);
        }
        stored.check(&[], "");
        sink.finish().unwrap();
        let name = format!("part-0.{format}");
        stored.check(&[name.as_str()], "1 2 3 4 5 6 7 8");
        check_positions(|| stored.source());
    }
}

#[test]
fn a_sink_that_is_dropped_leaves_what_was_there() {
    let stored = Stored::new("csv");
    let mut first = stored.sink();
    write(&mut first, "1");
    first.finish().unwrap();
    let mut second = stored.sink();
    write(&mut second, "2");
    drop(second);
    stored.check(&["part-0.csv"], "1");
}

#[test]
fn rows_are_seen_once_their_checkpoint_is_sealed() {
    let stored = Stored::committed("csv");
    let mut sink = stored.sink();
    write(&mut sink, "1\n2");
    snapshot(&mut sink, 1);
    write(&mut sink, "3");
    stored.check(&[], "");
    sink.commit(Epoch(1)).unwrap();
    sink.commit(Epoch(1)).unwrap();
    stored.check(&[FIRST], "1 2");
    sink.finish().unwrap();
    stored.check(&[FIRST], "1 2");
    sink.commit(Epoch::END).unwrap();
    stored.check(&[FIRST, SECOND], "1 2 3");
    drop(sink);
    let left = block_on(stored.store.list_with_delimiter(Some(&Key::from("t")))).unwrap();
    assert_eq!(left.objects.len(), 2, "the claim goes with the job");
}

#[test]
fn a_commit_is_repeated_behind_a_crash_wherever_that_was() {
    for is_committed in [false, true] {
        let mut stored = Stored::committed("csv");
        let mut sink = stored.sink();
        write(&mut sink, "1\n2");
        let state = snapshot(&mut sink, 1);
        if is_committed {
            sink.commit(Epoch(1)).unwrap();
        }
        write(&mut sink, "3");
        // The next checkpoint is never sealed.
        snapshot(&mut sink, 2);
        stored.attempt += 1;
        let mut next = stored.sink();
        restore(&mut next, &state);
        stored.check(&[FIRST], "1 2");
        // Who does not know yet that it is over shows nothing.
        assert!(
            sink.commit(Epoch(2)).unwrap_err().to_string().contains("another job or sink is writing s3://b/t/part-0")
        );
        write(&mut next, "3");
        next.finish().unwrap();
        next.commit(Epoch::END).unwrap();
        stored.check(&[FIRST, SECOND], "1 2 3");
        // From the same checkpoint once more: what it does not cover goes.
        stored.attempt += 1;
        let mut last = stored.sink();
        restore(&mut last, &state);
        stored.check(&[FIRST], "1 2");
    }
}

#[test]
fn an_upload_that_the_store_has_ended_is_an_error() {
    let stored = Stored::committed("csv");
    let mut sink = stored.sink();
    write(&mut sink, "1\n2");
    let state = snapshot(&mut sink, 1);
    sink.commit(Epoch(1)).unwrap();
    block_on(stored.store.delete(&Key::from(format!("t/{FIRST}")))).unwrap();
    let mut next = stored.sink();
    let error = next.restore(&StateReader::new(std::slice::from_ref(&state), 0, 1)).unwrap_err();
    assert!(
        error.chain().contains(&format!("cannot complete s3://b/t/{FIRST}: its upload is gone")),
        "{}",
        error.chain()
    );
}

#[test]
fn what_an_earlier_run_has_left_goes_with_the_first_part() {
    let stored = Stored::committed("csv");
    let put = |name: &str| {
        block_on(stored.store.put(&Key::from(format!("t/{name}")), "v\n9\n".into())).unwrap();
    };
    ["part-0.csv", "part-0-0000000007.csv", "part-1.csv", "rows-0.csv"].into_iter().for_each(put);
    let mut sink = stored.sink();
    write(&mut sink, "1");
    snapshot(&mut sink, 1);
    // Another attempt has put it in the place of what was there.
    put("part-0-0000000007.csv");
    sink.commit(Epoch(1)).unwrap();
    assert_eq!(stored.names(), [FIRST, "part-0-0000000007.csv", "part-1.csv", "rows-0.csv"]);
}

#[test]
fn objects_that_change_or_go_while_they_are_read_are_errors() {
    for format in FORMATS {
        let stored = Stored::new(format);
        let mut sink = stored.sink();
        write(&mut sink, "1\n2\n3\n4");
        sink.finish().unwrap();
        let key = Key::from(format!("t/part-0.{format}"));
        let (mut source, _) = stored.source();
        block_on(stored.store.put(&key, "another".into())).unwrap();
        let error = source.next_event().unwrap_err().chain();
        assert!(error.contains(&format!("s3://b/t/part-0.{format}")) && error.contains("replaced"), "{error}");
        block_on(stored.store.delete(&key)).unwrap();
        assert!(matches!(Listing::of(&stored.medium(), "s3://b/t", format), Err(EngineError::NoObjects { .. })));
    }
}

#[test]
fn stretches_of_an_object_are_its_bytes() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number * 7 % 251) as u8).collect();
    let stored = Stored::new("csv");
    block_on(stored.store.put(&Key::from("t/big"), bytes.clone().into())).unwrap();
    let file = stored.medium().file("s3://b/t/big");
    let (mut object, mut memory) = (file.open().unwrap(), Cursor::new(&bytes));
    assert_eq!((file.size().unwrap(), object.length().unwrap()), (3_000_000, 3_000_000));
    let mut read = |to: Option<SeekFrom>, bytes: usize| {
        if let Some(to) = to {
            assert_eq!(object.seek(to).unwrap(), memory.seek(to).unwrap());
        }
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        object.by_ref().take(bytes as u64).read_to_end(&mut found).unwrap();
        memory.by_ref().take(bytes as u64).read_to_end(&mut expected).unwrap();
        assert!(found == expected, "{} and {} bytes", found.len(), expected.len());
    };
    read(None, 10);
    read(None, 700_000);
    read(Some(SeekFrom::Current(-5)), 900_000);
    read(Some(SeekFrom::End(-3)), 10);
    read(Some(SeekFrom::Start(1_000_000)), 10);
    read(Some(SeekFrom::Start(4_000_000)), 10);
    let mut all = Vec::new();
    object.rewind().unwrap();
    object.read_to_end(&mut all).unwrap();
    assert!(all == bytes);
    let mut part = [0; 8];
    assert_eq!(object.read_at(&mut part, 2_999_996).unwrap(), 4);
    assert_eq!(part[..4], bytes[2_999_996..]);
}
