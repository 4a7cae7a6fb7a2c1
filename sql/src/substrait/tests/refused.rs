//! What is wrong with a plan, and where.

use expect_test::{Expect, expect};

use super::written::*;
use super::*;
use crate::substrait::messages::*;

fn check(plan: &[u8], expected: Expect) {
    expected.assert_eq(&explain(&mut session(), plan));
}

#[test]
fn bytes_that_are_no_plan() {
    check(
        b"SELECT 1",
        expect![[r#"
        the bytes are no plan in Substrait: failed to decode Protobuf message: invalid varint
    "#]],
    );
    check(
        b"",
        expect![[r#"
        relations: there are 0; a statement is one: send the others by themselves
    "#]],
    );
    check(
        &Plan::default().encode_to_vec(),
        expect![[r#"
        relations: there are 0; a statement is one: send the others by themselves
    "#]],
    );
    let mut newer = message(root(bids(), &[]));
    newer.version = Some(Version { major: 1, ..Version::default() });
    check(
        &newer.encode_to_vec(),
        expect![[r#"
        version.major_number: it is 1, and this release reads 0
    "#]],
    );
    let mut two = message(root(bids(), &[]));
    two.relations.push(two.relations[0].clone());
    check(
        &two.encode_to_vec(),
        expect![[r#"
        relations: there are 2; a statement is one: send the others by themselves
    "#]],
    );
    let mut own = message(root(bids(), &[]));
    own.advanced = Some(Advanced { enhancement: Some(Unread {}) });
    check(
        &own.encode_to_vec(),
        expect![[r#"
        advanced_extensions: an enhancement is not supported; leave it out, or send SQL
    "#]],
    );
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| {
        let filters = (0..depth).fold(bids(), |input, _| filter(input, call(8, vec![field(0)])));
        explain(&mut session(), &plan(filters)).lines().count()
    };
    assert!(nested(40) > 1);
    let deep = (0..10_000).fold(rel(bids()).encode_to_vec(), |input, _| {
        // As the messages have it, by hand: to build them, and to drop them, would be as deep.
        let inner = in_field(2, &input);
        in_field(2, &inner)
    });
    check(
        &in_field(3, &in_field(2, &in_field(1, &deep))),
        expect![[r#"
            the plan is too deep: some 45 relations and 30 functions can nest; name steps as views
        "#]],
    );
    let chain =
        (0..10_000).fold(field(0).encode_to_vec(), |argument, _| in_field(3, &in_field(4, &in_field(3, &argument))));
    let condition = [in_field(2, &rel(bids()).encode_to_vec()), in_field(3, &chain)].concat();
    check(
        &in_field(3, &in_field(2, &in_field(1, &in_field(2, &condition)))),
        expect![[r#"
            the plan is too deep: some 45 relations and 30 functions can nest; name steps as views
        "#]],
    );
}

/// The bytes of a message within another.
fn in_field(number: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(message.len() as u64, &mut bytes);
    bytes.extend(message);
    bytes
}

#[test]
fn parts_have_a_bound() {
    let many = |count: usize| plan(project(bids(), vec![field(0); count]));
    check(
        &many(5_000),
        expect![[r#"
        root.project: it has 5002 columns, and 2000 are possible
    "#]],
    );
    check(
        &many(200_000),
        expect![[r#"
        root.project.expressions[99994]: the plan has more than 100000 relations, expressions and columns; read rows from files, and name steps as views
    "#]],
    );
    // Columns of columns of columns.
    let wider = |input, _| chosen(project(input, Vec::new()), vec![0; 1_900]);
    let wide = explain(&mut session(), &plan((0..30).fold(bids(), wider)));
    assert!(wide.starts_with("Sink #2 ") && wide.contains("auction AS auction_1900 "), "{wide}");
    let many = (0..60).map(|_| chosen(bids(), vec![0; 1_900])).collect();
    check(
        &plan(set(many, 6)),
        expect![[r#"
        root.set.inputs[52].read: the plan has more than 100000 relations, expressions and columns; read rows from files, and name steps as views
    "#]],
    );
    check(
        &plan(set((0..20_000).map(|_| bids()).collect(), 6)),
        expect![[r#"
        root.set.inputs[19999].read: the plan has more than 100000 relations, expressions and columns; read rows from files, and name steps as views
    "#]],
    );
    // A name that would double with each step.
    let twice = |input, _| chosen(project(input, vec![call(0, vec![field(0), field(0)])]), vec![1]);
    let one = read_of(&["bids"], &[("auction", int64())]);
    let doubled = explain(&mut session(), &named((0..40).fold(one, twice), &["x"]));
    assert!(doubled.len() < 20_000 && doubled.starts_with("Sink"), "{doubled}");
}

#[test]
fn relations_that_are_not_read() {
    check(
        &plan(filter(RelKind::Exchange(Unread {}), field(0))),
        expect![[r#"
        root.filter.input.exchange: exchange as a relation is not supported; leave it out; the server places the rows itself
    "#]],
    );
    check(
        &plan(filter(RelKind::HashJoin(Unread {}), field(0))),
        expect![[r#"
        root.filter.input.hash_join: hash_join as a relation is not supported; send the logical plan: a join
    "#]],
    );
    check(
        &plan(filter(RelKind::Reference(Unread {}), field(0))),
        expect![[r#"
        root.filter.input.reference: reference as a relation is not supported; repeat the relation; one that is read twice can be a view
    "#]],
    );
    check(
        &plan(RelKind::ExtensionLeaf(Unread {})),
        expect![[r#"
        root.extension_leaf: extension_leaf as a relation is not supported; read, filter, project, aggregate, join, cross, set, sort, fetch, window and write are possible
    "#]],
    );
    check(
        &message(RelRoot { input: Some(Rel { kind: None }), names: Vec::new() }).encode_to_vec(),
        expect![[r#"
        root: a relation of a kind that is not known is not supported; send another, or SQL
    "#]],
    );
    check(
        &plan(set(vec![bids(), bids()], 3)),
        expect![[r#"
            root.set.op: a set operation other than UNION is not supported; join the inputs, or filter
        "#]],
    );
    check(
        &plan(join(bids(), bids(), 11, call(8, vec![field(0)]))),
        expect![[r#"
        a subquery under OR is not supported; a condition with EXISTS or IN (SELECT …) stands alone or behind AND
    "#]],
    );
    check(
        &plan(join(bids(), bids(), 7, call(8, vec![field(0)]))),
        expect![[r#"
        root.join.type: a join of which each row has one partner at most is not supported; send a left or right join
    "#]],
    );
    let RelKind::Join(mut loose) = join(bids(), bids(), 5, field(0)) else { panic!("no join") };
    loose.condition = None;
    check(
        &plan(RelKind::Join(loose)),
        expect![[r#"
        a join of two streams needs equal keys, ON a.k = b.k, or bounds between their event times, ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…'
    "#]],
    );
    check(
        &plan(fetch(bids(), 3, 5)),
        expect![[r#"
        root.fetch: OFFSET is not supported; use LIMIT alone
    "#]],
    );
    check(
        &plan(fetch(bids(), 0, -7)),
        expect![[r#"
        root.fetch: -7 rows are less than none
    "#]],
    );
    check(
        &plan(filter(fetch(bids(), 0, 5), call(8, vec![field(0)]))),
        expect![[r#"
        LIMIT here is not supported; it belongs to the outermost SELECT, whose result it limits
    "#]],
    );
    check(
        &plan(sort(bids(), field(0), 5)),
        expect![[r#"
        root.sort.sorts[0].direction: this order is not supported; ascending and descending, with NULLs first or last, are possible
    "#]],
    );
    check(
        &plan(sort(bids(), call(0, vec![field(0), field(0)]), 1)),
        expect![[r#"
        ORDER BY an expression that is not a column of the result is not supported; add it to the SELECT, and order by its name or number
    "#]],
    );
    check(
        &plan(filter(write(bids(), "s", &[]), field(0))),
        expect![[r#"
        root.filter.input.write: a write below another relation is not supported; it stands right below the root
    "#]],
    );
}

#[test]
fn tables_are_taken_for_what_they_are() {
    let a = || ("auction", int64());
    check(
        &plan(read_of(&["nowhere"], &[a()])),
        expect![[r#"
        root.read.named_table: there is no source or view 'nowhere'; there are: bids, auctions, plain
    "#]],
    );
    check(
        &plan(read_of(&["other", "bids"], &[a()])),
        expect![[r#"
        root.read.named_table: 'other.bids' has a schema; objects have plain names
    "#]],
    );
    check(
        &plan(read_of(&[], &[a()])),
        expect![[r#"
            root.read.named_table: it has no name
        "#]],
    );
    check(
        &plan(read_of(&["bids"], &[("auktion", int64())])),
        expect![[r#"
        root.read.base_schema[0]: 'bids' has no column 'auktion'; there are: auction, bidder, price, ts
    "#]],
    );
    check(
        &plan(read_of(&["bids"], &[("auction", text())])),
        expect![[r#"
        root.read.base_schema[0]: the column 'auction' of 'bids' is BIGINT, and the plan takes it for VARCHAR: tell its planner the types of the server
    "#]],
    );
    check(
        &plan(read_of(&["__relation_0"], &[a()])),
        expect![[r#"
        root.read.named_table: there is no source or view '__relation_0'; there are: bids, auctions, plain
    "#]],
    );
}

#[test]
fn expressions_that_are_not_read() {
    let computed = |expression| plan(project(bids(), vec![field(0), expression]));
    check(
        &computed(field(2)),
        expect![[r#"
        root.project.expressions[1].selection: there is no column 2; the input has 2, the first is 0
    "#]],
    );
    check(
        &computed(field(-1)),
        expect![[r#"
        root.project.expressions[1].selection: there is no column -1; the input has 2, the first is 0
    "#]],
    );
    check(
        &computed(call(77, Vec::new())),
        expect![[r#"
        root.project.expressions[1].scalar_function: no extension declares the function 77
    "#]],
    );
    check(
        &computed(call(1, vec![field(0)])),
        expect![[r#"
        root.project.expressions[1].scalar_function: there is no function 'no_such'; SHOW FUNCTIONS lists all
    "#]],
    );
    check(
        &computed(call(3, vec![field(0), field(1)])),
        expect![[r#"
        root.project.expressions[1].scalar_function: there is no function '__as_of'; SHOW FUNCTIONS lists all
    "#]],
    );
    check(
        &computed(call(5, vec![field(0)])),
        expect![[r#"
        root.project.expressions[1].scalar_function.arguments: gt takes 2 arguments, and has 1
    "#]],
    );
    check(
        &computed(call(4, vec![field(0)])),
        expect![[r#"
        root.project.expressions[1].scalar_function: there is no function 'count'; SHOW FUNCTIONS lists all
    "#]],
    );
    check(
        &computed(call(0, vec![field(1), field(1)])),
        expect![[r#"
        root.project: Cannot coerce arithmetic expression Utf8 + Utf8 to valid types
    "#]],
    );
    check(
        &computed(expression(ExpressionKind::Parameter(Unread {}))),
        expect![[r#"
        root.project.expressions[1]: dynamic_parameter as an expression is not supported; send the value as a literal, or SQL with parameters
    "#]],
    );
    check(
        &computed(literal(LiteralKind::UserDefined(Unread {}))),
        expect![[r#"
        root.project.expressions[1].literal: a value of a type of its producer's own is not supported; numbers, texts, bytes, booleans, dates, times, intervals, structs, lists and maps are possible
    "#]],
    );
    check(
        &computed(literal(LiteralKind::Struct(LiteralRow::default()))),
        expect![[r#"
        root.project.expressions[1].literal: a struct without fields as a value is not supported; numbers, texts, bytes, booleans, dates, times, intervals, structs, lists and maps are possible
    "#]],
    );
    let entry = |key: Option<&str>| MapEntry {
        key: key.map(|key| value(LiteralKind::String(key.to_owned()))),
        value: Some(value(LiteralKind::I64(1))),
    };
    let map = |keys: [Option<&str>; 2]| LiteralKind::Map(MapValue { entries: keys.map(entry).into() });
    check(
        &computed(literal(map([Some("a"), Some("a")]))),
        expect![[r#"
        root.project.expressions[1].literal.map: the key a is there twice
    "#]],
    );
    check(
        &computed(literal(map([Some("a"), None]))),
        expect![[r#"
        root.project.expressions[1].literal.map[1].key: it is missing
    "#]],
    );
    check(
        &computed(literal(LiteralKind::EmptyMap(Box::new(MapType { key: Some(text()), value: None })))),
        expect![[r#"
            root.project.expressions[1].literal.map.value: it is missing
        "#]],
    );
    check(
        &computed(literal(LiteralKind::I8(300))),
        expect![[r#"
        root.project.expressions[1].literal: the value does not fit its type: out of range integral type conversion attempted
    "#]],
    );
    check(
        &computed(literal(LiteralKind::PrecisionTimestamp(PreciseValue { precision: 4, value: 1 }))),
        expect![[r#"
        root.project.expressions[1].literal: a time with 4 digits of a second is not supported; 0, 3, 6 and 9 are possible
    "#]],
    );
    check(
        &computed(literal(LiteralKind::Decimal(DecimalValue { value: vec![1], precision: 5, scale: 2 }))),
        expect![[r#"
            root.project.expressions[1].literal: a decimal has 16 bytes, not 1
        "#]],
    );
    let list = vec![LiteralKind::I64(1), LiteralKind::String(String::from("x"))];
    let values = list.into_iter().map(value).collect();
    check(
        &computed(literal(LiteralKind::List(ListValue { values }))),
        expect![[r#"
        root.project.expressions[1].literal.list: its elements are Int64 and Utf8; cast them to one type
    "#]],
    );
    check(
        &computed(expression(ExpressionKind::IfThen(Box::default()))),
        expect![[r#"
        root.project.expressions[1].if_then.ifs: it has no condition
    "#]],
    );
    check(
        &computed(expression(ExpressionKind::Cast(Box::default()))),
        expect![[r#"
        root.project.expressions[1].cast.type: it is missing
    "#]],
    );
    check(
        &plan(filter(bids(), field(1))),
        expect![[r#"
        root.filter: Cannot create filter with non-boolean predicate 'bids.bidder' returning Utf8
    "#]],
    );
}

#[test]
fn results_have_names_that_differ() {
    check(
        &named(bids(), &["a"]),
        expect![[r#"
        root.names: there are 1, and the result has 2 columns
    "#]],
    );
    check(
        &named(bids(), &["a", "b", "c"]),
        expect![[r#"
        root.names: there are 3, and the result has 2 columns
    "#]],
    );
    check(
        &named(bids(), &["a", "a"]),
        expect![[r#"
        root.names: the result has two columns 'a'; give one of them another name
    "#]],
    );
}
