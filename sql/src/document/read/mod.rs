//! Documents as graphs: node by node, each with what is known of its output.

mod grouped;
mod joins;
mod models;
mod rows;

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_plans::change::with_change_column;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::graph::{DataflowGraph, Node, Partitioning};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::key_group::KEY_GROUPS;
use tidemill_plans::node::{FIT_WORKERS_MAX, NodeKind};
use tidemill_plans::settings::Settings;

use super::columns::{Places, check_unique, schema_of};
use super::{ColumnDocument, InputDocument, NodeDocument, OperatorDocument, PartitioningDocument};
use crate::catalog::StreamInfo;
use crate::lower::stream::Stream;
use crate::planner::source::type_name;
use crate::problem::{Problem, Read, Within, each};

/// A graph that is being read.
pub(super) struct Reader {
    settings: Settings,
    graph: DataflowGraph,
    streams: BTreeMap<String, Stream>,
}

/// An operator, before it is known how many instances there are.
struct Built {
    kind: NodeKind,
    info: StreamInfo,
    spread: Spread,
}

/// How an operator's rows are spread over its instances.
enum Spread {
    /// In any way: each row is for itself.
    Any,
    /// In any way, over so many instances unless it is said otherwise.
    Readers(u32),
    /// By the keys of each port.
    Keys(Vec<Vec<usize>>),
    /// There is one instance.
    Single,
    /// As many instances as port 0 has; everything on port 1 goes to all.
    Model,
    /// Several that work together: everything goes to the first.
    Team,
}

/// What an operator reads, by port.
struct Inputs<'a> {
    ports: Vec<&'a Stream>,
    /// Of all edges.
    all: Vec<&'a Stream>,
}

impl Inputs<'_> {
    /// What is known of a port.
    fn info(&self, port: usize) -> &StreamInfo {
        &self.ports[port].info
    }

    /// Refuses rows that are updated where only new ones can be.
    fn refuse_updating(&self, what: &str) -> Read<()> {
        match self.all.iter().any(|input| input.info.changelog) {
            true => Err(Problem::new(format!("{what} takes new rows only, and those of its input are updated"))),
            false => Ok(()),
        }
    }
}

impl Reader {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, graph: DataflowGraph::default(), streams: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> Read<(DataflowGraph, Settings)> {
        self.graph.validate()?;
        Ok((self.graph, self.settings))
    }

    /// Adds a node.
    pub(super) fn add(&mut self, node: &NodeDocument) -> Read<()> {
        if node.name.is_empty() || self.streams.contains_key(&node.name) {
            let message = if node.name.is_empty() { "a node needs a name" } else { "another node has this name" };
            return Err(Problem::new(message)).within("name");
        }
        let inputs = self.inputs(node)?;
        let Built { kind, mut info, spread } = self.operator(node, &inputs).within("operator")?;
        if let Some(columns) = &node.columns {
            // Sources check what is declared of their rows, and behind a Normalize there are whole rows again.
            let tightens = matches!(kind, NodeKind::Source(_) | NodeKind::Normalize(_));
            let named = renamed(&info.schema, columns, tightens).within("columns")?;
            if matches!(kind, NodeKind::Source(_)) {
                check_same_names(&info.schema, &named).within("columns")?;
            }
            info.schema = named;
        }
        check_unique(&info.schema).within("operator")?;
        let parallelism = self.parallelism(node, &inputs, &spread).within("parallelism")?;
        let mut edges = Vec::with_capacity(node.inputs.len());
        for (index, (input, from)) in node.inputs.iter().zip(&inputs.all).enumerate() {
            let partitioning = partitioning(input, from, parallelism, &spread);
            edges.push((from.node, input.port, partitioning.within("partitioning").at(index).within("inputs")?));
        }
        let id = OperatorId(u32::try_from(self.graph.nodes.len()).unwrap_or(u32::MAX));
        let schema = if info.changelog { with_change_column(&info.schema) } else { SchemaRef::clone(&info.schema) };
        self.graph.nodes.push(Node { id, name: node.name.clone(), kind, parallelism, schema: StreamSchema(schema) });
        for (from, port, partitioning) in edges {
            self.graph.add_edge(from, id, port, partitioning);
        }
        self.streams.insert(node.name.clone(), Stream { node: id, parallelism, info });
        Ok(())
    }

    fn inputs(&self, node: &NodeDocument) -> Read<Inputs<'_>> {
        let find = |input: &InputDocument| {
            let missing = || {
                let message = format!("no node '{}' stands in front of this one", input.from);
                Problem::new(message)
            };
            let found = self.streams.get(&input.from).ok_or_else(missing).within("from")?;
            let is_sink = matches!(self.graph.node(found.node)?.kind, NodeKind::Sink(_));
            if is_sink { Err(Problem::new("nothing can be read from a sink")).within("from") } else { Ok(found) }
        };
        let all = each(&node.inputs, find).within("inputs")?;
        let count = ports(&node.operator);
        if let Some(index) = node.inputs.iter().position(|input| input.port as usize >= count) {
            let message = format!("the operator has {count} ports, from 0");
            return Err(Problem::new(message)).within("port").at(index).within("inputs");
        }
        let mut by_port = Vec::with_capacity(count);
        for port in 0..count {
            let mut of_port = node.inputs.iter().zip(&all).filter(|(input, _)| input.port as usize == port);
            let Some((_, first)) = of_port.next() else {
                return Err(Problem::new(format!("nothing comes on port {port}"))).within("inputs");
            };
            for (input, other) in of_port {
                check_alike(&first.info, &other.info, &input.from).within("inputs")?;
            }
            by_port.push(*first);
        }
        Ok(Inputs { ports: by_port, all })
    }

    fn operator(&self, node: &NodeDocument, inputs: &Inputs<'_>) -> Read<Built> {
        let name = &node.name;
        match &node.operator {
            OperatorDocument::Source(source) => self.source(name, source).within("source"),
            OperatorDocument::Normalize(normalize) => rows::normalize(normalize, inputs).within("normalize"),
            OperatorDocument::Project(project) => rows::project(project, inputs).within("project"),
            OperatorDocument::Filter(filter) => rows::filter(filter, inputs).within("filter"),
            OperatorDocument::WindowAssign(assign) => rows::window_assign(assign, inputs).within("window_assign"),
            OperatorDocument::SessionAssign(assign) => rows::session_assign(assign, inputs).within("session_assign"),
            OperatorDocument::LateSplit(split) => rows::late_split(split, inputs).within("late_split"),
            OperatorDocument::Unnest(unnest) => rows::unnest(unnest, inputs).within("unnest"),
            OperatorDocument::Union(_) => rows::union(inputs).within("union"),
            OperatorDocument::Sink(sink) => rows::sink(name, sink, inputs).within("sink"),
            OperatorDocument::WindowAggregate(aggregate) => {
                grouped::window_aggregate(aggregate, inputs).within("window_aggregate")
            }
            OperatorDocument::SessionWindow(window) => grouped::session_window(window, inputs).within("session_window"),
            OperatorDocument::Aggregate(aggregate) => grouped::aggregate(aggregate, inputs).within("aggregate"),
            OperatorDocument::TopN(top) => grouped::top_n(top, inputs).within("top_n"),
            OperatorDocument::OverWindow(over) => grouped::over_window(over, inputs).within("over_window"),
            OperatorDocument::Join(join) => joins::join(join, inputs).within("join"),
            OperatorDocument::IntervalJoin(join) => joins::interval_join(join, inputs).within("interval_join"),
            OperatorDocument::TemporalJoin(join) => joins::temporal_join(join, inputs).within("temporal_join"),
            OperatorDocument::LookupJoin(join) => joins::lookup_join(join, inputs).within("lookup_join"),
            OperatorDocument::Train(train) => models::train(train, inputs).within("train"),
            OperatorDocument::Fit(fit) => models::fit(fit, inputs).within("fit"),
            OperatorDocument::Predict(predict) => models::predict(predict, inputs).within("predict"),
        }
    }

    fn parallelism(&self, node: &NodeDocument, inputs: &Inputs<'_>, spread: &Spread) -> Read<u32> {
        let of_first = || inputs.ports.first().map_or(1, |first| first.parallelism);
        let usual = match spread {
            Spread::Any => inputs.all.iter().map(|input| input.parallelism).max().unwrap_or(1),
            Spread::Readers(readers) => *readers,
            Spread::Keys(_) => self.settings.parallelism,
            Spread::Single | Spread::Team => 1,
            Spread::Model => of_first(),
        };
        let given = node.parallelism.unwrap_or(usual);
        match spread {
            _ if given == 0 || given > KEY_GROUPS => {
                Err(Problem::new(format!("it is {given}, and 1 to {KEY_GROUPS} is valid")))
            }
            Spread::Single if given != 1 => {
                Err(Problem::new("there can be one instance only: no key says which instance a row belongs to"))
            }
            Spread::Team if given > FIT_WORKERS_MAX => {
                Err(Problem::new(format!("it is {given}, and a fit has 1 to {FIT_WORKERS_MAX} instances")))
            }
            _ => Ok(given),
        }
    }
}

/// How many ports an operator has.
fn ports(operator: &OperatorDocument) -> usize {
    match operator {
        OperatorDocument::Source(_) => 0,
        OperatorDocument::Join(_)
        | OperatorDocument::IntervalJoin(_)
        | OperatorDocument::TemporalJoin(_)
        | OperatorDocument::Predict(_) => 2,
        _ => 1,
    }
}

/// Refuses streams that cannot come on one port.
fn check_alike(first: &StreamInfo, other: &StreamInfo, from: &str) -> Read<()> {
    let types = |info: &StreamInfo| info.schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    if types(first) != types(other) || first.changelog != other.changelog {
        let message = format!("'{from}' has other columns than what comes on the same port");
        return Err(Problem::new(message));
    }
    Ok(())
}

/// A stream's columns under the names that a document gives them.
fn renamed(own: &Schema, columns: &[ColumnDocument], tightens: bool) -> Read<SchemaRef> {
    let given = schema_of(columns)?;
    let (wanted, there) = (given.fields().len(), own.fields().len());
    if wanted != there {
        return Err(Problem::new(format!("there are {wanted}, and the operator makes {there}")));
    }
    for (index, (given, own)) in given.fields().iter().zip(own.fields()).enumerate() {
        if given.data_type() != own.data_type() {
            let (given, own) = (type_name(given.data_type()), type_name(own.data_type()));
            return Err(Problem::new(format!("it is {given}, and the operator makes {own}"))).within("type").at(index);
        }
        if own.is_nullable() && !given.is_nullable() && !tightens {
            return Err(Problem::new("it is not nullable, and what the operator makes may be NULL"))
                .within("nullable")
                .at(index);
        }
    }
    Ok(SchemaRef::new(given))
}

/// A source's watermark is computed from its columns by the names of its projection.
fn check_same_names(own: &Schema, given: &Schema) -> Read<()> {
    let names = own.fields().iter().zip(given.fields()).map(|(own, given)| (own.name(), given.name()));
    match names.enumerate().find(|(_, (own, given))| own != given) {
        None => Ok(()),
        Some((index, (own, _))) => {
            let message = format!("its name is '{own}': a source's columns get their names in its projection");
            Err(Problem::new(message)).within("name").at(index)
        }
    }
}

/// How the rows of an input are spread.
fn partitioning(input: &InputDocument, from: &Stream, parallelism: u32, spread: &Spread) -> Read<Partitioning> {
    let straight = from.parallelism == parallelism;
    let keys = match spread {
        Spread::Keys(keys) => keys.get(input.port as usize),
        _ => None,
    };
    let is_model = matches!(spread, Spread::Model) && input.port == 1;
    let is_team = matches!(spread, Spread::Team) && parallelism > 1;
    let given = match &input.partitioning {
        None if is_team => return Ok(Partitioning::First),
        None => return Ok(usual_partitioning(straight, keys, is_model)),
        Some(PartitioningDocument::Forward) => Partitioning::Forward,
        Some(PartitioningDocument::Rebalance) => Partitioning::Rebalance,
        Some(PartitioningDocument::Broadcast) => Partitioning::Broadcast,
        Some(PartitioningDocument::First) => Partitioning::First,
        Some(PartitioningDocument::Hash(columns)) => Partitioning::Hash(Places(&from.info).of_all(columns)?),
    };
    let refused = match (&given, keys) {
        (Partitioning::First, _) if is_team => return Ok(given),
        (_, _) if is_team => "the first instance takes all rows, and tells the others: first",
        (Partitioning::First, _) if parallelism > 1 => "the other instances would have no rows: rebalance, or hash",
        (Partitioning::Broadcast, _) if !is_model => "rows would be there once for each instance",
        (Partitioning::Hash(_) | Partitioning::Rebalance | Partitioning::Forward, _) if is_model => {
            "all instances need the versions of the model: broadcast"
        }
        (Partitioning::Hash(columns), Some(keys)) if columns == keys => return Ok(given),
        (Partitioning::Forward, Some(_)) if straight => return Ok(given),
        (_, Some(_)) if parallelism > 1 => {
            "rows of one key must meet in one instance: hash, by the operator's keys in their order"
        }
        (Partitioning::Rebalance, None) if from.info.changelog && parallelism > 1 => {
            "changes of a row could overtake each other: hash, by the columns that tell rows apart"
        }
        (Partitioning::Forward, _) if !straight => "there are not as many instances on both sides: rebalance, or hash",
        _ => return Ok(given),
    };
    Err(Problem::new(refused))
}

fn usual_partitioning(straight: bool, keys: Option<&Vec<usize>>, is_model: bool) -> Partitioning {
    match keys {
        Some(keys) => Partitioning::Hash(keys.clone()),
        None if is_model => Partitioning::Broadcast,
        None if straight => Partitioning::Forward,
        None => Partitioning::Rebalance,
    }
}

/// What is known of rows that are computed from others, and have these columns.
fn info_of(fields: Vec<Field>, from: &StreamInfo) -> StreamInfo {
    StreamInfo::untimed(SchemaRef::new(Schema::new(fields)), from.bounded)
}

/// The fields of a schema.
fn fields_of(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|field| field.as_ref().clone()).collect()
}
