//! Joins.

use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_plans::connector::{Direction, check_options};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::node::{
    IntervalJoinNode, JoinKind, JoinNode, JoinSide, LookupJoinNode, LookupTable, NodeKind, TemporalJoinKind,
    TemporalJoinNode, VersionBound,
};

use super::rows::{condition, positive};
use super::{Built, Inputs, Spread, fields_of, info_of};
use crate::catalog::StreamInfo;
use crate::document::columns::{Places, check_unique, schema_of};
use crate::document::expression::ExprDocument;
use crate::document::operator::{
    IntervalJoinDocument, JoinDocument, JoinKindDocument, LookupJoinDocument, TemporalJoinDocument,
};
use crate::lower::interval_join::kept_times;
use crate::lower::stream::make_unique;
use crate::problem::{Problem, Read, Within};

fn kind_of(kind: JoinKindDocument) -> JoinKind {
    match kind {
        JoinKindDocument::Inner => JoinKind::Inner,
        JoinKindDocument::Left => JoinKind::Left,
        JoinKindDocument::Right => JoinKind::Right,
        JoinKindDocument::Full => JoinKind::Full,
        JoinKindDocument::LeftSemi => JoinKind::LeftSemi,
        JoinKindDocument::LeftAnti => JoinKind::LeftAnti,
        JoinKindDocument::RightSemi => JoinKind::RightSemi,
        JoinKindDocument::RightAnti => JoinKind::RightAnti,
    }
}

/// The keys of both sides, pair by pair of one type.
fn keys(left: &[String], right: &[String], inputs: &Inputs<'_>) -> Read<[Vec<usize>; 2]> {
    same_keys([(left, "left_keys"), (right, "right_keys")], [inputs.info(0), inputs.info(1)])
}

fn same_keys(names: [(&[String], &str); 2], infos: [&StreamInfo; 2]) -> Read<[Vec<usize>; 2]> {
    let [(left, left_name), (right, right_name)] = names;
    // A column may be compared with two.
    let places = |names: &[String], info: &StreamInfo, member: &str| {
        super::each(names, |name| Places(info).of(name)).within(member)
    };
    let keys = [places(left, infos[0], left_name)?, places(right, infos[1], right_name)?];
    if keys[0].len() != keys[1].len() {
        let message = format!("there are {}, and {} {left_name}", keys[1].len(), keys[0].len());
        return Err(Problem::new(message)).within(right_name);
    }
    for (index, (left, right)) in keys[0].iter().zip(&keys[1]).enumerate() {
        let types = (infos[0].schema.field(*left).data_type(), infos[1].schema.field(*right).data_type());
        if types.0 != types.1 {
            let message = format!("it is {}, and what it is compared with is {}: cast one of them", types.1, types.0);
            return Err(Problem::new(message)).at(index).within(right_name);
        }
    }
    Ok(keys)
}

/// The columns of a pair, under these names.
fn pairs(kind: JoinKind, left: &Schema, right: &Schema, names: Option<&Vec<String>>) -> Read<SchemaRef> {
    let padded = |schema: &Schema, side: JoinSide| {
        let fields = fields_of(schema).into_iter();
        fields.map(|field| if kind.pads(side) { field.with_nullable(true) } else { field }).collect::<Vec<Field>>()
    };
    let mut fields = padded(left, JoinSide::Left);
    fields.extend(padded(right, JoinSide::Right));
    let own = || make_unique(fields.iter().map(|field| field.name().clone()));
    let names = names.cloned().unwrap_or_else(own);
    if names.len() != fields.len() {
        return Err(Problem::new(format!("there are {}, and a pair has {} columns", names.len(), fields.len())));
    }
    let named = fields.into_iter().zip(names).map(|(field, name)| field.with_name(name));
    let schema = Schema::new(named.collect::<Vec<_>>());
    check_unique(&schema).map(|()| SchemaRef::new(schema))
}

/// What comes out: pairs, or the rows of one side.
fn output(kind: JoinKind, pairs: &Schema, inputs: &Inputs<'_>) -> StreamInfo {
    let fields = match kind.single_side() {
        None => fields_of(pairs),
        Some(JoinSide::Left) => fields_of(&inputs.info(0).schema),
        Some(JoinSide::Right) => fields_of(&inputs.info(1).schema),
    };
    let bounded = inputs.info(0).bounded && inputs.info(1).bounded;
    StreamInfo { bounded, ..info_of(fields, inputs.info(0)) }
}

fn filter(filter: Option<&ExprDocument>, pairs: &Schema) -> Read<Option<StreamExpr>> {
    filter.map(|filter| condition(filter, pairs)).transpose().within("filter")
}

pub(super) fn join(join: &JoinDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let kind = kind_of(join.kind);
    let [left_keys, right_keys] = keys(&join.left_keys, &join.right_keys, inputs)?;
    if left_keys.is_empty() {
        return Err(Problem::new("there are none, and every row would be every other's partner")).within("left_keys");
    }
    let pairs = pairs(kind, &inputs.info(0).schema, &inputs.info(1).schema, join.pairs.as_ref()).within("pairs")?;
    let filter = filter(join.filter.as_ref(), &pairs)?;
    let time = |port: usize, name: Option<&String>, member: &str| {
        name.map(|name| Places(inputs.info(port)).of_time(name)).transpose().within(member)
    };
    let times = [time(0, join.left_time.as_ref(), "left_time")?, time(1, join.right_time.as_ref(), "right_time")?];
    let ttl = |ttl: Option<i64>, member: &str| ttl.map(positive).transpose().within(member);
    let ttl = [ttl(join.left_ttl, "left_ttl")?, ttl(join.right_ttl, "right_ttl")?];
    let updating = inputs.all.iter().any(|input| input.info.changelog);
    let only_come = matches!(kind, JoinKind::Inner | JoinKind::LeftSemi | JoinKind::RightSemi);
    let info = StreamInfo { changelog: updating || !only_come, ..output(kind, &pairs, inputs) };
    let spread = Spread::Keys(vec![left_keys.clone(), right_keys.clone()]);
    let pairs = StreamSchema(pairs);
    let kind = NodeKind::Join(JoinNode { kind, left_keys, right_keys, times, pairs, filter, ttl });
    Ok(Built { kind, info, spread })
}

pub(super) fn interval_join(join: &IntervalJoinDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("a join of rows whose times are near each other")?;
    let kind = kind_of(join.kind);
    let [left_keys, right_keys] = keys(&join.left_keys, &join.right_keys, inputs)?;
    let left_time = Places(inputs.info(0)).of_time(&join.left_time).within("left_time")?;
    let right_time = Places(inputs.info(1)).of_time(&join.right_time).within("right_time")?;
    let (lower, upper) = (join.lower, join.upper);
    if lower > upper {
        return Err(Problem::new("it is below lower, and no two rows can join")).within("upper");
    }
    let pairs = pairs(kind, &inputs.info(0).schema, &inputs.info(1).schema, join.pairs.as_ref()).within("pairs")?;
    let filter = filter(join.filter.as_ref(), &pairs)?;
    let output_time = IntervalJoinNode::output_time_of(kind, lower);
    let left_width = inputs.info(0).schema.fields().len();
    let times = match kind.single_side() {
        None => kept_times(kind, (lower, upper), left_time, left_width + right_time),
        Some(JoinSide::Left) => vec![left_time],
        Some(JoinSide::Right) => vec![right_time],
    };
    let info = StreamInfo { times, ..output(kind, &pairs, inputs) };
    let info = StreamInfo { window_times: window_times(&info, kind, inputs, left_width), ..info };
    let spread = match left_keys.is_empty() {
        true => Spread::Single,
        false => Spread::Keys(vec![left_keys.clone(), right_keys.clone()]),
    };
    let kind = NodeKind::IntervalJoin(IntervalJoinNode {
        kind,
        left_keys,
        right_keys,
        left_time,
        right_time,
        lower,
        upper,
        filter,
        pairs: StreamSchema(pairs),
        output_time,
    });
    Ok(Built { kind, info, spread })
}

/// The event times of the output that say which window a row is in.
fn window_times(info: &StreamInfo, kind: JoinKind, inputs: &Inputs<'_>, left_width: usize) -> Vec<usize> {
    let is_window_time = |time: &usize| match kind.single_side() {
        Some(JoinSide::Right) => inputs.info(1).window_times.contains(time),
        Some(JoinSide::Left) => inputs.info(0).window_times.contains(time),
        None if *time < left_width => inputs.info(0).window_times.contains(time),
        None => inputs.info(1).window_times.contains(&(time - left_width)),
    };
    info.times.iter().copied().filter(is_window_time).collect()
}

pub(super) fn temporal_join(join: &TemporalJoinDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("a join as of event time")?;
    let [left_keys, right_keys] = keys(&join.left_keys, &join.right_keys, inputs)?;
    if left_keys.is_empty() {
        return Err(Problem::new("there are none")).within("left_keys");
    }
    let left_time = Places(inputs.info(0)).of_time(&join.left_time).within("left_time")?;
    let right_time = Places(inputs.info(1)).of_time(&join.right_time).within("right_time")?;
    let pairs_kind = if join.keeps_unmatched { JoinKind::Left } else { JoinKind::Inner };
    let pairs = pairs(pairs_kind, &inputs.info(0).schema, &inputs.info(1).schema, None)?;
    let info = StreamInfo { times: vec![left_time], ..output(pairs_kind, &pairs, inputs) };
    let left_width = inputs.info(0).schema.fields().len();
    let info = StreamInfo { window_times: window_times(&info, pairs_kind, inputs, left_width), ..info };
    let spread = Spread::Keys(vec![left_keys.clone(), right_keys.clone()]);
    let kind = NodeKind::TemporalJoin(TemporalJoinNode {
        left_keys,
        right_keys,
        left_time,
        right_time,
        bound: if join.strictly_before { VersionBound::Before } else { VersionBound::AtOrBefore },
        kind: if join.keeps_unmatched { TemporalJoinKind::Left } else { TemporalJoinKind::Inner },
        ttl: join.ttl.map(positive).transpose().within("ttl")?,
    });
    Ok(Built { kind, info, spread })
}

pub(super) fn lookup_join(join: &LookupJoinDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let options: Vec<(String, String)> = join.options.clone().into_iter().collect();
    check_options(&join.connector, Direction::Source, &options)?;
    let fetches = SchemaRef::new(schema_of(&join.fetches).within("fetches")?);
    let names: Vec<String> = fetches.fields().iter().map(|field| field.name().clone()).collect();
    let declared = join.declared.clone().unwrap_or_else(|| names.clone());
    if let Some(missing) = names.iter().find(|name| !declared.contains(name)) {
        return Err(Problem::new(format!("'{missing}' is fetched, and not among them"))).within("declared");
    }
    let table = info_of(fields_of(&fetches), input);
    let [input_keys, table_keys] =
        same_keys([(&join.input_keys, "input_keys"), (&join.table_keys, "table_keys")], [input, &table])?;
    if input_keys.is_empty() {
        return Err(Problem::new("there are none")).within("input_keys");
    }
    let pairs_kind = if join.keeps_unmatched { JoinKind::Left } else { JoinKind::Inner };
    let pairs = pairs(pairs_kind, &input.schema, &fetches, None)?;
    let info = StreamInfo {
        times: input.times.clone(),
        window_times: input.window_times.clone(),
        changelog: input.changelog,
        ..info_of(fields_of(&pairs), input)
    };
    let kind = NodeKind::LookupJoin(LookupJoinNode {
        table: LookupTable {
            name: join.table.clone(),
            connector: join.connector.clone(),
            options,
            declared,
            columns: StreamSchema(fetches),
            keys: table_keys,
            cache_rows: join.cache_rows,
            cache_ttl: join.cache_ttl,
        },
        input_keys,
        keeps_unmatched: join.keeps_unmatched,
    });
    Ok(Built { kind, info, spread: Spread::Any })
}
