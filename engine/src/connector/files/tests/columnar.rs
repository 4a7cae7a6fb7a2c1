//! Arrow IPC and Avro: what other programs write, and files that are broken.

use std::io::Write;

use arrow::array::{Decimal128Array, DictionaryArray, Float64Array, Int32Array, TimestampMillisecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;

use super::*;

/// A batch with a key that is a dictionary, an integer and a value that nobody reads.
pub(super) fn batch(range: std::ops::Range<i32>) -> RecordBatch {
    let keys: DictionaryArray<Int32Type> = range.clone().map(|v| if v % 2 == 0 { "even" } else { "odd" }).collect();
    let values = Int32Array::from_iter_values(range.clone());
    let floats = Float64Array::from_iter_values(range.map(f64::from));
    let columns: [(&str, ArrayRef); 3] = [("x", Arc::new(floats)), ("k", Arc::new(keys)), ("v", Arc::new(values))];
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(super) fn arrow_file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new_with_options(&mut bytes, &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

pub(super) fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn arrow_files_of_both_formats_are_read_compressed_or_not() {
    let batches = [batch(0..2), batch(2..6)];
    let stream = arrow_stream(&batches);
    // The mark at the end of a stream may be missing.
    let open_end = stream[..stream.len() - 8].to_vec();
    let written = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)];
    let written = written.map(|compression| arrow_file(&batches, compression));
    for bytes in written.into_iter().chain([stream, open_end]) {
        let files = Files::new("arrow");
        files.put("a.arrow", bytes);
        check(
            &files,
            "v:int k:text",
            expect![[r#"
                0 even
                1 odd
                2 even
                3 odd
                4 even
                5 odd
            "#]],
        );
    }
}

#[test]
fn subtasks_share_the_record_batches_of_an_arrow_file_but_not_of_a_stream() {
    let rows = schema("v:int");
    let batches = [batch(0..2), batch(2..6), batch(6..8)];
    let files = Files::new("arrow");
    files.put("a.arrow", arrow_file(&batches, None));
    assert_eq!(files.read_share(&rows, 0, 2).unwrap(), "0\n1\n6\n7\n");
    assert_eq!(files.read_share(&rows, 1, 2).unwrap(), "2\n3\n4\n5\n");
    files.put("a.arrow", arrow_stream(&batches));
    assert_eq!(files.read_share(&rows, 0, 2).unwrap(), "0\n1\n2\n3\n4\n5\n6\n7\n");
    assert_eq!(files.read_share(&rows, 1, 2).unwrap(), "");
}

#[test]
fn values_of_an_arrow_file_that_do_not_fit_are_dead_letters() {
    let files = Files::new("arrow");
    files.write(&schema("v:int k:text"), &["1 a\n- b\n---\n5000000000 c\n4 d"]);
    let narrow = Schema::new(vec![Field::new("v", DataType::Int32, false), Field::new("k", DataType::Utf8, true)]);
    expect![[r#"
        1 a
        4 d
        bad 2
        {"operator":"Source t","reason":"column 'v' is 'NULL', not NOT NULL","row":"FOLDER/part-0.arrow, record batch 0, row 1"}
        {"operator":"Source t","reason":"column 'v' is '5000000000', not Int32","row":"FOLDER/part-0.arrow, record batch 1, row 0"}
    "#]].assert_eq(&files.read(&Arc::new(narrow)));
}

#[test]
fn columns_that_are_missing_or_of_another_type_are_errors() {
    for format in ["arrow", "avro"] {
        let files = Files::new(format);
        files.write(&schema("a:text"), &["x"]);
        assert_eq!(
            files.read(&schema("a:text c:int")),
            format!("FOLDER/part-0.{format}: no column 'c'; the file has a")
        );
        assert_eq!(
            files.read(&schema("a:int")),
            format!("FOLDER/part-0.{format}: column 'a' is Utf8, which cannot be read as Int64")
        );
    }
}

#[test]
fn rows_of_which_no_column_is_read_are_counted() {
    for format in ["arrow", "avro", "parquet"] {
        let files = Files::new(format);
        files.write(&schema("a:text v:int"), &["x 1\ny 2\nz 3\n- -"]);
        let mut opened = files.open(&Arc::new(Schema::empty()), 0, 1).unwrap();
        let mut rows = 0;
        while let SourceEvent::Batch(batch) = opened.source.next_event().unwrap() {
            rows += batch.num_rows();
        }
        assert_eq!(rows, 4, "{format}");
    }
}

/// Cuts a file off and changes its bytes: whatever comes of it, it is rows or an error that names the file.
fn check_broken(files: &Files, name: &str, whole: &[u8], rows: &SchemaRef) {
    let step = whole.len().div_ceil(60);
    let (mut errors, mut tries) = (0, 0);
    let mut read = |bytes: &[u8]| {
        files.put(name, bytes);
        tries += 1;
        if let Err(error) = files.read_share(rows, 0, 1) {
            errors += 1;
            assert!(files.anonymous(&error.chain()).contains(&format!("FOLDER/{name}")), "{}", error.chain());
        }
    };
    (0..whole.len()).step_by(step).for_each(|length| read(&whole[..length]));
    for place in (0..whole.len()).step_by(step) {
        for change in [0x80, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[place] ^= change;
            read(&bytes);
        }
    }
    assert!(errors > tries / 4, "{errors} of {tries}");
}

#[test]
fn broken_arrow_files_are_errors_that_name_them() {
    let rows = schema("v:int k:text");
    let files = Files::new("arrow");
    check_broken(&files, "a.arrow", &arrow_file(&[batch(0..4)], None), &rows);
    check_broken(&files, "a.arrow", &arrow_stream(&[batch(0..4)]), &rows);
}

#[test]
fn broken_avro_files_are_errors_that_name_them() {
    let rows = schema(ALL_TYPES);
    let files = Files::new("avro").with("codec", "none");
    files.write(&rows, &["a 1 0.1 true @1.5\n- - - - -\nb -2 1e300 false @1700000000.123456"]);
    let whole = fs::read(files.folder.path().join("part-0.avro")).unwrap();
    check_broken(&files, "part-0.avro", &whole, &rows);
}

#[test]
fn files_that_were_cut_off_are_errors() {
    let arrow = Files::new("arrow");
    let whole = arrow_file(&[batch(0..4)], None);
    for (bytes, error) in [
        (&whole[..whole.len() - 10], "Arrow file does not contain correct footer"),
        (&whole[..8], "the file is cut off"),
        (&whole[..0], "Expected schema message, found empty stream"),
    ] {
        arrow.put("a.arrow", bytes);
        let text = arrow.read(&schema("v:int"));
        assert!(text.starts_with("FOLDER/a.arrow: not readable as Arrow IPC: ") && text.contains(error), "{text}");
    }
    let avro = Files::new("avro");
    avro.write(&schema("v:int"), &["1---2"]);
    let whole = fs::read(avro.folder.path().join("part-0.avro")).unwrap();
    avro.put("part-0.avro", &whole[..whole.len() - 20]);
    assert_eq!(
        avro.read(&schema("v:int")),
        "FOLDER/part-0.avro: not readable as Avro: Parser error: it ends within a block, so it is cut off or still being written"
    );
}

#[test]
fn avro_blocks_are_read_whatever_compresses_them() {
    for codec in ["none", "snappy", "deflate", "zstd"] {
        let files = Files::new("avro").with("codec", codec);
        files.write(&schema(ALL_TYPES), &["a 1 0.5 true @1.5\n- - - - -"]);
        assert_eq!(files.read(&schema(ALL_TYPES)), "a 1 0.5 true @1.5\n- - - - -\n", "{codec}");
        let bytes = fs::read(files.folder.path().join("part-0.avro")).unwrap();
        let name = match codec {
            "none" => "null",
            "zstd" => "zstandard",
            other => other,
        };
        assert!(bytes.windows(name.len()).any(|part| part == name.as_bytes()), "{codec}");
    }
}

#[test]
fn logical_types_of_avro_become_what_is_declared() {
    let files = Files::new("avro");
    let instants = |zone: Option<&str>| -> ArrayRef {
        let times = TimestampMillisecondArray::from(vec![Some(1500), None]);
        Arc::new(match zone {
            Some(zone) => times.with_timezone(zone),
            None => times,
        })
    };
    let price = Decimal128Array::from(vec![Some(1234), None]).with_precision_and_scale(10, 2).unwrap();
    let days = cast(&Int32Array::from(vec![Some(1), None]), &DataType::Date32).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("instant", instants(Some("+00:00"))),
        ("local", instants(None)),
        ("day", days),
        ("price", Arc::new(price)),
        ("n", Arc::new(Int32Array::from(vec![Some(7), None]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut bytes = Vec::new();
    let builder = WriterBuilder::new(batch.schema().as_ref().clone()).with_compression(Some(CompressionCodec::Deflate));
    let mut writer = builder.build::<_, AvroOcfFormat>(&mut bytes).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    files.put("a.avro", &bytes);
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let declared = Schema::new(vec![
        field("price", DataType::Decimal128(12, 3)),
        field("n", DataType::Int64),
        field("local", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("instant", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("day", DataType::Date32),
    ]);
    let text = files.read(&Arc::new(declared));
    expect![[r#"
        12.340 7 @1.5 @1.5 1970-01-02
        - - - - -
    "#]]
    .assert_eq(&text);
}

#[test]
fn an_avro_sink_refuses_names_that_it_would_have_to_change() {
    let files = Files::new("avro");
    for name in ["count(*)", "t.a", "1st", ""] {
        let odd: SchemaRef = Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]));
        let Err(error) = files.try_sink(0, &odd) else { panic!("{name} is written") };
        assert_eq!(
            files.anonymous(&error.chain()),
            format!(
                "FOLDER/part-0.avro.inprogress: Avro has no field '{name}', only names of letters, digits and _; write \
                 AS name in the query"
            )
        );
    }
    assert_eq!(files.names(), Vec::<String>::new());
}

#[test]
fn text_at_the_end_of_an_avro_file_is_an_error() {
    let files = Files::new("avro");
    files.write(&schema("v:int"), &["1"]);
    let path = files.folder.path().join("part-0.avro");
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let text = files.read(&schema("v:int"));
    assert!(text.contains("not readable as Avro"), "{text}");
}
