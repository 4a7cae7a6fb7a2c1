//! Operators that look at one row after the other: sources, projections, filters, windows, sinks.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use tidemill_plans::change::{CHANGE_COLUMN, with_absent_values, with_change_column};
use tidemill_plans::connector::{
    Direction, VIEW_CONNECTOR, check_columns, check_options, is_bounded, is_inner, needs_key, reads_changes,
    takes_changes, takes_key, writes_in_parallel,
};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::node::{
    EventTimeSpec, FilterNode, LateSplitNode, LateWindows, NodeKind, NormalizeNode, NullEventTime, ProjectNode,
    Projection, SessionAssignNode, SinkNode, SortColumn, SourceNode, TimeToLive, UnionNode, UnnestColumn, UnnestNode,
    WindowAssignNode, WindowSpec,
};
use tidemill_plans::time::event_time_type;

use super::{Built, Inputs, Reader, Spread, fields_of, info_of};
use crate::catalog::StreamInfo;
use crate::document::columns::{Places, schema_of};
use crate::document::expression::field_of;
use crate::document::operator::{
    EventTimeDocument, FilterDocument, LateSplitDocument, LateWindowsDocument, NormalizeDocument, OnNull,
    ProjectDocument, SessionDocument, SinkDocument, SortDocument, SourceDocument, TtlDocument, UnnestDocument,
    UnnestFrom, WindowAssignDocument, WindowDocument,
};
use crate::lower::expression::column;
use crate::lower::stream::{make_unique_beside, window_fields};
use crate::problem::{Problem, Read, Within, each};

impl Reader {
    pub(super) fn source(&self, name: &str, source: &SourceDocument) -> Read<Built> {
        let options: Vec<(String, String)> = source.options.clone().into_iter().collect();
        let is_inner = is_inner(&source.connector);
        if !is_inner {
            check_options(&source.connector, Direction::Source, &options)?;
        }
        let reads = SchemaRef::new(schema_of(&source.reads).within("reads")?);
        if !is_inner {
            check_columns(&source.connector, &options, &reads)?;
        }
        let changelog = reads_changes(&options);
        let names = || reads.fields().iter().map(|field| field.name().clone());
        let mut node = SourceNode {
            table: source.table.clone().unwrap_or_else(|| name.to_owned()),
            connector: source.connector.clone(),
            options,
            declared: source.declared.clone().unwrap_or_else(|| names().collect()),
            columns: StreamSchema(if changelog { with_change_column(&reads) } else { SchemaRef::clone(&reads) }),
            projection: names().map(|name| Projection { expr: StreamExpr(column(&name)), name }).collect(),
            event_time: None,
            upsert_key: source.upsert_key.clone(),
        };
        if let Some(missing) = names().find(|name| !node.declared.contains(name)) {
            return Err(Problem::new(format!("'{missing}' is read, and not among them"))).within("declared");
        }
        if needs_key(&node.options) == node.upsert_key.is_empty() {
            let message = "the format upsert-json, and no other, needs the key by which rows replace each other";
            return Err(Problem::new(message)).within("upsert_key");
        }
        let mut fields = fields_of(&reads);
        if let Some(projection) = &source.projection {
            let input = projected(&reads);
            let read = each(projection, |column| column.read(&input)).within("projection")?;
            let named = projection.iter().zip(&read);
            node.projection = named
                .map(|(c, (expr, _))| Projection { name: c.name.clone(), expr: StreamExpr(expr.clone()) })
                .collect();
            fields = read.into_iter().map(|(_, field)| field).collect();
        }
        let schema = SchemaRef::new(Schema::new(fields));
        node.event_time = match &source.event_time {
            Some(_) if changelog => {
                let message = "rows that are updated have no event time: an update may come long after its row";
                return Err(Problem::new(message)).within("event_time");
            }
            Some(time) => Some(event_time(time, &schema).within("event_time")?),
            None => None,
        };
        node.timing()?;
        let info = StreamInfo {
            times: node.event_time.iter().map(|time| time.column).collect(),
            window_times: Vec::new(),
            bounded: is_inner || is_bounded(&node.connector, &node.options)?,
            changelog,
            upsert_keys: Vec::new(),
            schema: if node.upsert_key.is_empty() { schema } else { with_absent_values(&schema) },
        };
        // Nothing but the order of reading orders rows without event time: one task reads.
        let readers = if info.times.is_empty() { 1 } else { self.settings.parallelism };
        Ok(Built { kind: NodeKind::Source(node), info, spread: Spread::Readers(readers) })
    }
}

/// What a source's projection reads: its columns, and the time of reading.
fn projected(reads: &Schema) -> Schema {
    let mut fields = fields_of(reads);
    fields.push(Field::new(tidemill_plans::node::PROCTIME_COLUMN, event_time_type(), false));
    Schema::new(fields)
}

fn event_time(time: &EventTimeDocument, schema: &SchemaRef) -> Read<EventTimeSpec> {
    let missing = |_| Problem::new(format!("the source has no column '{}'", time.column));
    let place = schema.index_of(&time.column).map_err(missing).within("column")?;
    let watermark = time.watermark.read(schema).within("watermark")?;
    for (data_type, member) in [
        (schema.field(place).data_type().clone(), "column"),
        (field_of("watermark", &watermark, schema)?.data_type().clone(), "watermark"),
    ] {
        if data_type != event_time_type() {
            let message = format!("it is {data_type}, and event time is {}", event_time_type());
            return Err(Problem::new(message)).within(member);
        }
    }
    let on_null = match time.on_null {
        OnNull::DeadLetter => NullEventTime::DeadLetter,
        OnNull::Skip => NullEventTime::Skip,
    };
    Ok(EventTimeSpec { column: place, watermark: StreamExpr(watermark), on_null })
}

pub(super) fn normalize(normalize: &NormalizeDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    if !input.changelog {
        return Err(Problem::new("its input has no changes; a source of the format upsert-json has"));
    }
    let keys = Places(input).of_all(&normalize.keys).within("keys")?;
    if keys.is_empty() {
        return Err(Problem::new("rows replace each other by key, and there is none")).within("keys");
    }
    let ttl = time_to_live(normalize.ttl.as_ref(), input).within("ttl")?;
    let info = StreamInfo { upsert_keys: keys.clone(), ..input.clone() };
    let kind = NodeKind::Normalize(NormalizeNode { keys: keys.clone(), ttl });
    Ok(Built { kind, info, spread: Spread::Keys(vec![keys]) })
}

pub(super) fn time_to_live(ttl: Option<&TtlDocument>, input: &StreamInfo) -> Read<Option<TimeToLive>> {
    let Some(ttl) = ttl else { return Ok(None) };
    let time = ttl.time.as_ref().map(|time| Places(input).of_time(time)).transpose().within("time")?;
    Ok(Some(TimeToLive { micros: positive(ttl.micros).within("micros")?, time }))
}

/// A length of time.
pub(super) fn positive(micros: i64) -> Read<i64> {
    if micros > 0 { Ok(micros) } else { Err(Problem::new(format!("it is {micros}, and lengths are positive"))) }
}

pub(super) fn project(project: &ProjectDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let read = each(&project.columns, |column| column.read(&input.schema)).within("columns")?;
    let named = project.columns.iter().zip(&read);
    let columns: Vec<Projection> = named
        .map(|(column, (expr, _))| Projection { name: column.name.clone(), expr: StreamExpr(expr.clone()) })
        .collect();
    let passed = |index: usize| {
        let name = input.schema.field(index).name();
        columns.iter().position(|c| matches!(&c.expr.0, Expr::Column(column) if column.name == *name))
    };
    let mut fields: Vec<Field> = read.into_iter().map(|(_, field)| field).collect();
    // Rows that are new become changes by saying so, in the last column.
    let marks = fields.last().is_some_and(|last| last.name() == CHANGE_COLUMN);
    if marks && (input.changelog || fields.pop().is_some_and(|mark| *mark.data_type() != DataType::Int8)) {
        let message = format!("{CHANGE_COLUMN} is a TINYINT beside rows that are new");
        return Err(Problem::new(message)).at(columns.len() - 1).within("columns");
    }
    if fields.is_empty() {
        return Err(Problem::new("there are none")).within("columns");
    }
    let places = |wanted: &[usize]| wanted.iter().filter_map(|column| passed(*column)).collect::<Vec<_>>();
    let info = StreamInfo {
        times: places(&input.times),
        window_times: places(&input.window_times),
        changelog: input.changelog || marks,
        ..info_of(fields, input)
    };
    Ok(Built { kind: NodeKind::Project(ProjectNode { columns }), info, spread: Spread::Any })
}

pub(super) fn filter(filter: &FilterDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let predicate = condition(&filter.predicate, &input.schema).within("predicate")?;
    Ok(Built { kind: NodeKind::Filter(FilterNode { predicate }), info: input.clone(), spread: Spread::Any })
}

/// An expression that is true or not.
pub(super) fn condition(expr: &crate::document::ExprDocument, input: &Schema) -> Read<StreamExpr> {
    let expr = expr.read(input)?;
    let field = field_of("condition", &expr, input)?;
    match field.data_type() {
        DataType::Boolean => Ok(StreamExpr(expr)),
        other => Err(Problem::new(format!("it is {other}, and a condition is a BOOLEAN"))),
    }
}

pub(super) fn window(window: &WindowDocument) -> Read<WindowSpec> {
    Ok(match *window {
        WindowDocument::Tumble { size, offset } => {
            WindowSpec::Tumble { size: positive(size).within("size").within("tumble")?, offset }
        }
        WindowDocument::Hop { slide, size, offset } => WindowSpec::Hop {
            slide: positive(slide).within("slide").within("hop")?,
            size: positive(size).within("size").within("hop")?,
            offset,
        },
        WindowDocument::Cumulate { step, size, offset } => {
            let step = positive(step).within("step").within("cumulate")?;
            if size < step || size % step != 0 {
                let message = format!("it is {size}, and a multiple of the step is needed");
                return Err(Problem::new(message)).within("size").within("cumulate");
            }
            WindowSpec::Cumulate { step, size, offset }
        }
    })
}

/// What rows have behind their own columns once they are in windows.
fn with_window_columns(input: &StreamInfo) -> StreamInfo {
    let fields = fields_of(&input.schema).into_iter().chain(window_fields()).collect();
    info_of(fields, input)
}

pub(super) fn window_assign(assign: &WindowAssignDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let time = Places(input).of_time(&assign.time).within("time")?;
    let window = window(&assign.window).within("window")?;
    let ends = [input.schema.fields().len() + 1, input.schema.fields().len() + 2];
    let info = StreamInfo {
        times: input.times.iter().copied().chain(ends).collect(),
        window_times: input.window_times.iter().copied().chain(ends).collect(),
        ..with_window_columns(input)
    };
    Ok(Built { kind: NodeKind::WindowAssign(WindowAssignNode { time, window }), info, spread: Spread::Any })
}

pub(super) fn session_assign(assign: &SessionDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let keys = Places(input).of_all(&assign.keys).within("keys")?;
    let time = Places(input).of_time(&assign.time).within("time")?;
    let gap = positive(assign.gap).within("gap")?;
    let times = vec![input.schema.fields().len() + 1, input.schema.fields().len() + 2];
    let info = StreamInfo { window_times: times.clone(), times, ..with_window_columns(input) };
    let kind = NodeKind::SessionAssign(SessionAssignNode { keys: keys.clone(), time, gap });
    Ok(Built { kind, info, spread: by_keys(keys) })
}

/// By keys, or to the one instance where there are none.
pub(super) fn by_keys(keys: Vec<usize>) -> Spread {
    if keys.is_empty() { Spread::Single } else { Spread::Keys(vec![keys]) }
}

pub(super) fn late_split(split: &LateSplitDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let time = Places(input).of_time(&split.time).within("time")?;
    let (windows, spread) = match &split.windows {
        LateWindowsDocument::Fixed(fixed) => {
            (LateWindows::Fixed(window(fixed).within("fixed").within("windows")?), Spread::Any)
        }
        LateWindowsDocument::Session { keys, gap } => {
            let keys = Places(input).of_all(keys).within("keys").within("session").within("windows")?;
            let gap = positive(*gap).within("gap").within("session").within("windows")?;
            (LateWindows::Session { keys: keys.clone(), gap }, by_keys(keys))
        }
    };
    let own: Vec<&str> = input.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let name = make_unique_beside(&own, [String::from("late")]).concat();
    let fields = fields_of(&input.schema).into_iter().chain([Field::new(name, DataType::Boolean, false)]).collect();
    let info =
        StreamInfo { times: input.times.clone(), window_times: input.window_times.clone(), ..info_of(fields, input) };
    Ok(Built { kind: NodeKind::LateSplit(LateSplitNode { time, windows }), info, spread })
}

pub(super) fn unnest(unnest: &UnnestDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let read = each(&unnest.columns, |column| {
        let (from, field) = unnest_column(&column.from, input).within("from")?;
        Ok((from, column.name.clone().map_or(field.clone(), |name| field.with_name(name))))
    });
    let (columns, fields): (Vec<UnnestColumn>, Vec<Field>) = read.within("columns")?.into_iter().unzip();
    let passed = |time: &usize| columns.iter().position(|column| *column == UnnestColumn::Passed(*time));
    let info = StreamInfo {
        times: input.times.iter().filter_map(passed).collect(),
        window_times: input.window_times.iter().filter_map(passed).collect(),
        changelog: input.changelog,
        ..info_of(fields, input)
    };
    let kind = NodeKind::Unnest(UnnestNode { columns, keeps_empty: unnest.keeps_empty });
    Ok(Built { kind, info, spread: Spread::Any })
}

fn unnest_column(from: &UnnestFrom, input: &StreamInfo) -> Read<(UnnestColumn, Field)> {
    let place = |name: &str| Places(input).of(name);
    match from {
        UnnestFrom::Passed(name) => {
            let place = place(name).within("passed")?;
            Ok((UnnestColumn::Passed(place), input.schema.field(place).clone()))
        }
        UnnestFrom::Elements(name) => {
            let place = place(name).within("elements")?;
            let (DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _)) =
                input.schema.field(place).data_type()
            else {
                return Err(Problem::new(format!("'{name}' is no list"))).within("elements");
            };
            let field = Field::new(format!("unnest({name})"), element.data_type().clone(), true);
            Ok((UnnestColumn::Elements(place), field))
        }
        UnnestFrom::Field { column, field } => {
            let place = place(column).within("column").within("field")?;
            let DataType::Struct(fields) = input.schema.field(place).data_type() else {
                return Err(Problem::new(format!("'{column}' is no struct"))).within("column").within("field");
            };
            let Some((index, found)) = fields.find(field) else {
                return Err(Problem::new(format!("'{column}' has no field '{field}'"))).within("field").within("field");
            };
            let made = Field::new(format!("{column}.{field}"), found.data_type().clone(), true);
            Ok((UnnestColumn::Field { column: place, field: index }, made))
        }
    }
}

pub(super) fn union(inputs: &Inputs<'_>) -> Read<Built> {
    let first = inputs.info(0);
    let fields = (0..first.schema.fields().len()).map(|column| {
        let is_nullable = inputs.all.iter().any(|input| input.info.schema.field(column).is_nullable());
        first.schema.field(column).clone().with_nullable(is_nullable)
    });
    let in_all = |times: fn(&StreamInfo) -> &Vec<usize>| {
        let is_in_all = |time: &usize| inputs.all.iter().all(|input| times(&input.info).contains(time));
        times(first).iter().copied().filter(is_in_all).collect::<Vec<usize>>()
    };
    let info = StreamInfo {
        times: in_all(|info| &info.times),
        window_times: in_all(|info| &info.window_times),
        bounded: inputs.all.iter().all(|input| input.info.bounded),
        changelog: first.changelog,
        ..info_of(fields.collect(), first)
    };
    Ok(Built { kind: NodeKind::Union(UnionNode {}), info, spread: Spread::Any })
}

pub(super) fn sorts(order_by: &[SortDocument], input: &StreamInfo) -> Read<Vec<SortColumn>> {
    each(order_by, |sort| {
        let column = Places(input).of(&sort.column).within("column")?;
        Ok(SortColumn { column, descending: sort.descending, nulls_first: sort.nulls_first })
    })
}

pub(super) fn sink(name: &str, sink: &SinkDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let options: Vec<(String, String)> = sink.options.clone().into_iter().collect();
    let is_inner = is_inner(&sink.connector);
    let upsert_keys = Places(input).of_all(&sink.upsert_keys).within("upsert_keys")?;
    if !is_inner {
        check_options(&sink.connector, Direction::Sink, &options)?;
        let has_key = takes_key(&sink.connector) && !upsert_keys.is_empty();
        if input.changelog && !has_key && !takes_changes(&sink.connector, &options)? {
            let message = format!("{} takes new rows only, and those of its input are updated", sink.connector);
            return Err(Problem::new(message)).within("connector");
        }
        if needs_key(&options) && upsert_keys.is_empty() {
            let message = "the format upsert-json needs the key by which rows replace each other";
            return Err(Problem::new(message)).within("upsert_keys");
        }
    }
    let time = sink.time.as_ref().map(|time| Places(input).of_time(time)).transpose().within("time")?;
    let in_parallel =
        sink.connector == VIEW_CONNECTOR || !is_inner && writes_in_parallel(&sink.connector, !upsert_keys.is_empty());
    let node = SinkNode {
        table: sink.table.clone().unwrap_or_else(|| name.to_owned()),
        connector: sink.connector.clone(),
        options,
        time,
        upsert_keys,
        order_by: sorts(&sink.order_by, input).within("order_by")?,
        limit: sink.limit,
        live: sink.live,
    };
    let spread = if in_parallel { Spread::Any } else { Spread::Single };
    Ok(Built { kind: NodeKind::Sink(node), info: input.clone(), spread })
}
