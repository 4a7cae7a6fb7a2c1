//! What sinks leave behind: a whole file or nothing.

use tidemill_plans::ErrorDomain;

use super::*;
use crate::connector::files::parts::PartBytes;
use crate::connector::files::writer::Writer;

#[test]
fn a_sink_that_is_dropped_before_its_end_leaves_nothing() {
    for format in FORMATS {
        let files = Files::new(format);
        let rows = schema("v:int");
        let mut sink = files.sink(0, &rows);
        sink.write(&parse_rows(&rows, "1\n2").unwrap()).unwrap();
        assert_eq!(files.names(), [format!("part-0.{format}.inprogress")]);
        drop(sink);
        assert_eq!(files.names(), Vec::<String>::new());
    }
}

#[test]
fn a_sink_that_cannot_be_opened_leaves_nothing() {
    let spaced: SchemaRef = Arc::new(Schema::new(vec![Field::new("v w", DataType::Int64, true)]));
    let files = Files::new("avro");
    let Err(error) = files.try_sink(0, &spaced) else { panic!("Avro has no such name") };
    assert_eq!(error.domain(), ErrorDomain::User);
    assert_eq!(files.names(), Vec::<String>::new());
}

#[test]
fn a_list_has_its_place_in_csv() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let nested: SchemaRef = Arc::new(Schema::new(vec![Field::new("v", DataType::List(item), true)]));
    let files = Files::new("csv");
    drop(files.sink(0, &nested));
}

#[test]
fn a_sink_that_cannot_be_completed_leaves_nothing() {
    for format in FORMATS {
        let files = Files::new(format);
        let complete = format!("part-0.{format}");
        let mut sink = files.sink(0, &schema("v:int"));
        fs::create_dir(files.folder.path().join(&complete)).unwrap();
        let error = sink.finish().unwrap_err();
        assert_eq!(error.domain(), ErrorDomain::External);
        assert!(error.chain().contains("Is a directory"), "{}", error.chain());
        drop(sink);
        assert_eq!(files.names(), [complete]);
    }
}

#[test]
fn a_part_that_is_being_written_is_refused_to_others() {
    let rows = schema("v:int");
    let files = Files::new("csv");
    let mut first = files.sink(0, &rows);
    first.write(&parse_rows(&rows, "1").unwrap()).unwrap();
    let Err(error) = files.try_sink(0, &rows) else { panic!("two sinks write one file") };
    assert_eq!(
        files.anonymous(&error.chain()),
        "another job or sink is writing FOLDER/part-0.csv.inprogress; give each sink a folder of its own"
    );
    first.write(&parse_rows(&rows, "2").unwrap()).unwrap();
    first.finish().unwrap();
    assert_eq!(files.read(&rows), "1\n2\n");
    files.write(&rows, &["3"]);
    assert_eq!(files.read(&rows), "3\n", "the file is free again");
}

#[test]
fn what_a_crash_left_behind_is_taken_over() {
    let rows = schema("v:int");
    let files = Files::new("csv");
    files.put("part-0.csv.inprogress", "v\n7\n8\n9\n");
    files.write(&rows, &["1"]);
    assert_eq!(files.names(), ["part-0.csv"]);
    assert_eq!(files.read(&rows), "1\n");
}

#[test]
fn a_full_disk_is_the_systems_error() {
    let rows = schema("v:int");
    let path = Path::new("/dev/full");
    let batch = parse_rows(&rows, "1").unwrap();
    for format in FORMATS {
        let options = [(String::from("format"), String::from(format))];
        let write = || {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut writer = Writer::new(&options, &[], PartBytes::File(file), path, Arc::clone(&rows))?;
            writer.write(&batch, path)?;
            writer.finish(path)
        };
        let error: EngineError = write().unwrap_err();
        assert_eq!(error.chain(), "cannot write /dev/full: No space left on device (os error 28)", "{format}");
        assert_eq!(error.domain(), ErrorDomain::External);
    }
}
