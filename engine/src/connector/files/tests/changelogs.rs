//! Changes as JSON lines: Debezium's envelopes both ways, and the last rows of keys.

use tidemill_plans::change::with_change_column;

use super::*;

const ROWS: &str = "k:text v:int";

/// Columns of a changelog.
fn changes(fields: &str) -> SchemaRef {
    with_change_column(&schema(fields))
}

/// Rows in the notation that `show_rows` writes: the operation in front.
fn changelog(rows: &str) -> RecordBatch {
    let line = |line: &str| {
        let (op, values) = line.split_once(' ').unwrap();
        let code = ["+I", "-U", "+U", "-D"].iter().position(|name| *name == op).unwrap();
        format!("{values} {code}\n")
    };
    let rows: String = rows.lines().filter(|line| !line.is_empty()).map(line).collect();
    parse_rows(&changes(ROWS), &rows).unwrap()
}

/// What a sink of changes wrote into its one file; batches parted by `---`.
fn written(files: &Files, batches: &str) -> String {
    let mut sink = files.sink(0, &changes(ROWS));
    batches.split("---").for_each(|rows| sink.write(&changelog(rows)).unwrap());
    sink.finish().unwrap();
    fs::read_to_string(files.folder.path().join("part-0.json")).unwrap()
}

fn check_changes(files: &Files, fields: &str, expected: Expect) {
    expected.assert_eq(&files.read(&changes(fields)));
}

const CHANGES: &str = "+I a 1\n+I b 2\n-U a 1\n+U a 3\n---\n-D b 2\n+I - -";

#[test]
fn an_envelope_is_written_for_each_old_and_each_new_row() {
    let files = Files::new("debezium-json");
    expect![[r#"
        {"before":null,"after":{"k":"a","v":1},"op":"c"}
        {"before":null,"after":{"k":"b","v":2},"op":"c"}
        {"before":{"k":"a","v":1},"after":null,"op":"d"}
        {"before":null,"after":{"k":"a","v":3},"op":"c"}
        {"before":{"k":"b","v":2},"after":null,"op":"d"}
        {"before":null,"after":{"k":null,"v":null},"op":"c"}
    "#]]
    .assert_eq(&written(&files, CHANGES));
    assert_eq!(files.names(), ["part-0.json"]);
}

#[test]
fn what_is_written_as_envelopes_is_read_back() {
    let files = Files::new("debezium-json");
    written(&files, CHANGES);
    check_changes(
        &files,
        "k:text v:int",
        expect![[r#"
        +I a 1
        +I b 2
        -D a 1
        +I a 3
        -D b 2
        +I - -
    "#]],
    );
    // Columns are found by name, and others left out.
    check_changes(
        &files,
        "v:int",
        expect![[r#"
        +I 1
        +I 2
        -D 1
        +I 3
        -D 2
        +I -
    "#]],
    );
}

#[test]
fn rows_that_only_come_are_written_as_envelopes_too() {
    let files = Files::new("debezium-json");
    files.write(&schema(ROWS), &["a 1"]);
    let text = fs::read_to_string(files.folder.path().join("part-0.json")).unwrap();
    assert_eq!(text, "{\"before\":null,\"after\":{\"k\":\"a\",\"v\":1},\"op\":\"c\"}\n");
}

#[test]
fn every_operation_of_debezium_is_known() {
    let files = Files::new("debezium-json");
    files.put(
        "a.json",
        "{\"before\":null,\"after\":{\"k\":\"a\",\"v\":1,\"w\":[]},\"op\":\"r\",\"ts_ms\":7,\"source\":{\"db\":\"x\"}}\n\
         {\"after\":{\"k\":\"b\",\"v\":2},\"op\":\"c\"}\n\
         {\"op\":\"u\",\"after\":{\"k\":\"b\",\"v\":3},\"before\":{\"k\":\"b\",\"v\":2}}\n\
         {\"before\":{\"k\":\"a\",\"v\":1},\"after\":null,\"op\":\"d\"}\n",
    );
    check_changes(
        &files,
        "k:text v:int!",
        expect![[r#"
        +I a 1
        +I b 2
        -U b 2
        +U b 3
        -D a 1
    "#]],
    );
}

#[test]
fn envelopes_that_stand_for_no_change_are_dead_letters() {
    let files = Files::new("debezium-json");
    let lines = [
        r#"{"before":null,"after":{"k":"a","v":1},"op":"c"}"#,
        r#"{"k":"a","v":1}"#,
        r#"{"before":null,"after":null,"op":"t"}"#,
        r#"{"before":null,"after":{"k":"a","v":2},"op":"u"}"#,
        r#"{"before":{"k":"a","v":1},"after":null,"op":"u"}"#,
        "",
        r#"{"before":null,"after":null,"op":"d"}"#,
        r#"{"before":{"k":"a","v":1},"after":{"k":"a"},"op":"u"}"#,
        r#"{"before":null,"after":{"k":"a","v":"x"},"op":"c"}"#,
        r#"{"schema":{},"payload":{"before":null,"after":{"k":"a","v":1},"op":"c"}}"#,
        "null",
        r#"{"before":{"k":"a","v":1},"after":null,"op":"d"}"#,
    ];
    files.put("a.json", lines.join("\n"));
    check_changes(
        &files,
        "k:text v:int!",
        expect![[r#"
        +I a 1
        -D a 1
        bad 9
        {"operator":"Source t","reason":"no op; an envelope has one of c, r, u, d, and no schema around it","row":"FOLDER/a.json:2: {\"k\":\"a\",\"v\":1}"}
        {"operator":"Source t","reason":"op is 't'; an envelope has one of c, r, u, d, and no schema around it","row":"FOLDER/a.json:3: {\"before\":null,\"after\":null,\"op\":\"t\"}"}
        {"operator":"Source t","reason":"op is 'u', but there is no \"before\"; a PostgreSQL table needs REPLICA IDENTITY FULL","row":"FOLDER/a.json:4: {\"before\":null,\"after\":{\"k\":\"a\",\"v\":2},\"op\":\"u\"}"}
        {"operator":"Source t","reason":"op is 'u', but there is no \"after\"","row":"FOLDER/a.json:5: {\"before\":{\"k\":\"a\",\"v\":1},\"after\":null,\"op\":\"u\"}"}
        {"operator":"Source t","reason":"op is 'd', but there is no \"before\"; a PostgreSQL table needs REPLICA IDENTITY FULL","row":"FOLDER/a.json:7: {\"before\":null,\"after\":null,\"op\":\"d\"}"}
        {"operator":"Source t","reason":"op is 'u', but column 'v' of \"after\" is NULL, not NOT NULL","row":"FOLDER/a.json:8: {\"before\":{\"k\":\"a\",\"v\":1},\"after\":{\"k\":\"a\"},\"op\":\"u\"}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: whilst decoding field 'after': whilst decoding field 'v': failed to parse \"x\" as Int64","row":"FOLDER/a.json:9: {\"before\":null,\"after\":{\"k\":\"a\",\"v\":\"x\"},\"op\":\"c\"}"}
        {"operator":"Source t","reason":"no op; an envelope has one of c, r, u, d, and no schema around it","row":"FOLDER/a.json:10: {\"schema\":{},\"payload\":{\"before\":null,\"after\":{\"k\":\"a\",\"v\":1},\"op\":\"c\"}}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: expected { got null","row":"FOLDER/a.json:11: null"}
    "#]],
    );
}

#[test]
fn the_last_row_of_each_key_is_written_and_what_has_gone_has_no_value() {
    let mut files = Files::new("upsert-json");
    files.keys = vec![0];
    let batches = "+I a 1\n+I b 2\n-U a 1\n+U a 3\n---\n-D b 2\n+I - 4\n-U a 3\n---\n+U a 5\n+I c 1\n-D c 1";
    expect![[r#"
        {"key":{"k":"b"},"value":{"k":"b","v":2}}
        {"key":{"k":"a"},"value":{"k":"a","v":3}}
        {"key":{"k":"b"},"value":null}
        {"key":{"k":null},"value":{"k":null,"v":4}}
        {"key":{"k":"a"},"value":null}
        {"key":{"k":"a"},"value":{"k":"a","v":5}}
        {"key":{"k":"c"},"value":null}
    "#]]
    .assert_eq(&written(&files, batches));
}

#[test]
fn a_key_of_several_columns_is_an_object_of_them() {
    let mut files = Files::new("upsert-json");
    files.keys = vec![1, 0];
    expect![[r#"
        {"key":{"v":2,"k":"a"},"value":{"k":"a","v":2}}
        {"key":{"v":1,"k":"a"},"value":null}
    "#]]
    .assert_eq(&written(&files, "+I a 1\n+I a 2\n-D a 1"));
}

#[test]
fn what_is_written_as_the_last_rows_of_keys_is_read_back() {
    let mut files = Files::new("upsert-json");
    files.keys = vec![0];
    written(&files, "+I a 1\n+I b 2\n---\n-U a 1\n+U a 3\n-D b 2\n---\n+I - 4");
    check_changes(
        &files,
        ROWS,
        expect![[r#"
            +U a 1
            +U b 2
            +U a 3
            -D b -
            +U - 4
        "#]],
    );
}

#[test]
fn the_key_of_a_line_is_that_of_its_row() {
    let mut files = Files::new("upsert-json");
    files.keys = vec![1, 0];
    files.put(
        "a.json",
        "{\"key\":{\"v\":1,\"k\":\"a\"},\"value\":{\"w\":5,\"more\":[]}}\n\
         {\"value\":{\"k\":\"z\",\"v\":7,\"w\":6},\"key\":{\"k\":\"b\",\"v\":2}}\n\n\
         {\"key\":{\"v\":1,\"k\":\"a\"}}\n",
    );
    check_changes(
        &files,
        "k:text! v:int! w:int!",
        expect![[r#"
            +U a 1 5
            +U b 2 6
            -D a 1 -
        "#]],
    );
}

#[test]
fn lines_that_are_no_rows_of_keys_are_dead_letters() {
    let mut files = Files::new("upsert-json");
    files.keys = vec![0];
    let lines = [
        r#"{"key":{"k":"a"},"value":{"k":"a","v":1}}"#,
        r#"{"k":"a","v":1}"#,
        r#"{"key":null,"value":{"k":"a","v":2}}"#,
        r#"{"key":{"k":null},"value":null}"#,
        r#"{"key":{"k":"a"},"value":{"k":"a"}}"#,
        r#"{"key":"a","value":{"k":"a","v":2}}"#,
        r#"{"key":{"k":"a"},"value":{"k":"a","v":"x"}}"#,
        r#"{"key":{"k":"a"},"value":null}"#,
    ];
    files.put("a.json", lines.join("\n"));
    check_changes(
        &files,
        "k:text! v:int!",
        expect![[r#"
        +U a 1
        -D a -
        bad 6
        {"operator":"Source t","reason":"there is no \"key\"","row":"FOLDER/a.json:2: {\"k\":\"a\",\"v\":1}"}
        {"operator":"Source t","reason":"there is no \"key\"","row":"FOLDER/a.json:3: {\"key\":null,\"value\":{\"k\":\"a\",\"v\":2}}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: whilst decoding field 'key': expected { got \"a\"","row":"FOLDER/a.json:6: {\"key\":\"a\",\"value\":{\"k\":\"a\",\"v\":2}}"}
        {"operator":"Source t","reason":"column 'k' of \"key\" is NULL, not NOT NULL","row":"FOLDER/a.json:4: {\"key\":{\"k\":null},\"value\":null}"}
        {"operator":"Source t","reason":"column 'v' of \"value\" is NULL, not NOT NULL","row":"FOLDER/a.json:5: {\"key\":{\"k\":\"a\"},\"value\":{\"k\":\"a\"}}"}
        {"operator":"Source t","reason":"FOLDER/a.json: not readable as JSON lines: Json error: whilst decoding field 'value': whilst decoding field 'v': failed to parse \"x\" as Int64","row":"FOLDER/a.json:7: {\"key\":{\"k\":\"a\"},\"value\":{\"k\":\"a\",\"v\":\"x\"}}"}
    "#]],
    );
}
