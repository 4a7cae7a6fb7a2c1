//! Dataflow plans from Rust, operator by operator: what SQL cannot say, as a chain of calls.
//!
//! ```no_run
//! use tidemill::dataflow::{Dataflow, Sink, Source, Train, Window};
//!
//! let plan = Dataflow::source(
//!     "clicks",
//!     Source::new("files")
//!         .option("path", "clicks")
//!         .option("format", "json")
//!         .column("page", "VARCHAR")
//!         .column("bought", "BOOLEAN")
//!         .column("ts", "TIMESTAMP")
//!         .event_time("ts", "ts - INTERVAL '2 seconds'"),
//! )
//! .key_by(["page"])
//! .window("ts", Window::tumble(60_000_000))
//! .aggregate("pages", [("n", "count(*)")])
//! .sink("out", Sink::new("files").option("path", "out").option("format", "json"))
//! .from("clicks")
//! .train("buys", Train::new("logistic_reg", "bought", "ts").features(["page"]))
//! .from("clicks")
//! .predict("predicted", "buys")
//! .sink("predictions", Sink::new("print"))
//! .plan();
//! let (graph, settings) = plan.to_graph(&Default::default())?;
//! # Ok::<(), tidemill::dataflow::DocumentError>(())
//! ```
//!
//! The calls make a [`PlanDocument`], the same that `tidemill submit` reads as JSON. What is wrong with it is told when it
//! becomes a graph.

pub use tidemill_sql::document::{DocumentError, PlanDocument, WindowDocument as Window};

use tidemill_sql::document::{
    AggregateDocument, Call, ChangesDocument, ColumnDocument, EventTimeDocument, ExprDocument, FilterDocument,
    FreshnessDocument, InputDocument, JoinDocument, JoinKindDocument, NamedExpr, NodeDocument, OnNull,
    OperatorDocument, PartitioningDocument, PredictDocument, ProjectDocument, QuestionDocument, SinkDocument,
    SourceDocument, TrainDocument, UnionDocument, WindowAggregateDocument,
};

/// How long a publishing interval of a model is unless it is said: an hour, in microseconds.
const PUBLISH_EVERY: i64 = 3_600_000_000;

/// A plan, and the node that the next one reads.
#[derive(Debug, Clone)]
#[must_use = "a plan runs when it is submitted"]
pub struct Dataflow {
    document: PlanDocument,
    /// What the next node reads.
    head: String,
    /// How the next node's rows are spread, if it is said.
    partitioning: Option<PartitioningDocument>,
}

/// A source: connector, options, columns, event time.
#[derive(Debug, Clone)]
pub struct Source(SourceDocument);

impl Source {
    /// A source of this connector, without columns.
    #[must_use]
    pub fn new(connector: &str) -> Self {
        Self(SourceDocument {
            table: None,
            connector: connector.to_owned(),
            options: Default::default(),
            reads: Vec::new(),
            declared: None,
            projection: None,
            event_time: None,
            upsert_key: Vec::new(),
        })
    }

    /// An option of the connector.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.0.options.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A column, whose type is SQL's or Arrow's, and which may be NULL.
    #[must_use]
    pub fn column(mut self, name: &str, data_type: &str) -> Self {
        let (name, data_type) = (name.to_owned(), data_type.to_owned());
        self.0.reads.push(ColumnDocument { name, data_type, nullable: true });
        self
    }

    /// The event-time column, and the watermark behind a row as an expression over the columns.
    #[must_use]
    pub fn event_time(mut self, column: &str, watermark: &str) -> Self {
        let (column, watermark) = (column.to_owned(), ExprDocument::from(watermark));
        self.0.event_time = Some(EventTimeDocument { column, watermark, on_null: OnNull::DeadLetter });
        self
    }
}

/// A sink: connector, options, key.
#[derive(Debug, Clone)]
pub struct Sink(SinkDocument);

impl Sink {
    /// A sink of this connector.
    #[must_use]
    pub fn new(connector: &str) -> Self {
        Self(SinkDocument {
            table: None,
            connector: connector.to_owned(),
            options: Default::default(),
            time: None,
            upsert_keys: Vec::new(),
            order_by: Vec::new(),
            limit: None,
            live: false,
        })
    }

    /// An option of the connector.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.0.options.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The event-time column in whose order rows are written.
    #[must_use]
    pub fn time(mut self, column: &str) -> Self {
        self.0.time = Some(column.to_owned());
        self
    }

    /// The columns that tell the rows of an updating input apart.
    #[must_use]
    pub fn key<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.upsert_keys = owned(columns);
        self
    }
}

/// A model: algorithm, label, event time, features, options.
#[derive(Debug, Clone)]
pub struct Train(TrainDocument);

impl Train {
    /// A model of this algorithm; when the label became known is in the event-time column.
    #[must_use]
    pub fn new(model_type: &str, label: &str, time: &str) -> Self {
        Self(TrainDocument {
            model: String::new(),
            model_type: model_type.to_owned(),
            options: Default::default(),
            label: Some(label.to_owned()),
            time: time.to_owned(),
            features: Vec::new(),
            publish_every: PUBLISH_EVERY,
        })
    }

    /// The features' columns.
    #[must_use]
    pub fn features<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.features = owned(columns);
        self
    }

    /// An option of the algorithm.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.0.options.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Length of a publishing interval in microseconds.
    #[must_use]
    pub fn publish_every(mut self, micros: i64) -> Self {
        self.0.publish_every = micros;
        self
    }
}

impl Dataflow {
    /// A plan that begins with a source.
    pub fn source(name: &str, source: Source) -> Self {
        let empty = Self { document: PlanDocument::new(), head: String::new(), partitioning: None };
        empty.and_source(name, source)
    }

    /// One more source, which the next node reads.
    pub fn and_source(self, name: &str, source: Source) -> Self {
        self.add(name, Vec::new(), OperatorDocument::Source(source.0))
    }

    /// A setting of the job, as SET names it.
    pub fn set(mut self, setting: &str, value: &str) -> Self {
        self.document.settings.insert(setting.to_owned(), value.to_owned());
        self
    }

    /// Goes on behind another node.
    pub fn from(mut self, node: &str) -> Self {
        node.clone_into(&mut self.head);
        self
    }

    /// How rows come to the next node, where it is not to be as usual.
    pub fn partitioned(mut self, partitioning: PartitioningDocument) -> Self {
        self.partitioning = Some(partitioning);
        self
    }

    /// How many instances of the newest node run.
    pub fn parallelism(mut self, instances: u32) -> Self {
        if let Some(node) = self.document.nodes.last_mut() {
            node.parallelism = Some(instances);
        }
        self
    }

    /// Keeps the rows for which a condition is true.
    pub fn filter(self, name: &str, predicate: &str) -> Self {
        self.chain(name, OperatorDocument::Filter(FilterDocument { predicate: predicate.into() }))
    }

    /// Computes columns: name and expression.
    pub fn project<'a>(self, name: &str, columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let columns = columns.into_iter().map(|(name, expr)| NamedExpr { name: name.to_owned(), expr: expr.into() });
        let columns = columns.collect();
        self.chain(name, OperatorDocument::Project(ProjectDocument { columns }))
    }

    /// What follows puts rows together by these columns.
    pub fn key_by<'a>(self, columns: impl IntoIterator<Item = &'a str>) -> Keyed {
        Keyed { flow: self, keys: owned(columns) }
    }

    /// Joins with another node on equal keys, for as long as rows are there.
    pub fn join<'a>(self, name: &str, other: &str, on: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (left, right): (Vec<&str>, Vec<&str>) = on.into_iter().unzip();
        let join = JoinDocument {
            kind: JoinKindDocument::Inner,
            left_keys: owned(left),
            right_keys: owned(right),
            left_time: None,
            right_time: None,
            pairs: None,
            filter: None,
            left_ttl: None,
            right_ttl: None,
        };
        let inputs = vec![input(&self.head, 0), input(other, 1)];
        self.add(name, inputs, OperatorDocument::Join(join))
    }

    /// Puts the rows of other nodes beside those of this one.
    pub fn union<'a>(self, name: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let others = others.into_iter().map(|other| input(other, 0));
        let inputs = std::iter::once(input(&self.head, 0)).chain(others).collect();
        self.add(name, inputs, OperatorDocument::Union(UnionDocument {}))
    }

    /// Learns a model, which is called as its node.
    pub fn train(self, name: &str, mut train: Train) -> Self {
        name.clone_into(&mut train.0.model);
        self.chain(name, OperatorDocument::Train(train.0))
    }

    /// Appends the predictions of a model that this plan trains.
    pub fn predict(self, name: &str, model: &str) -> Self {
        let trained = self.document.nodes.iter().find_map(|node| match &node.operator {
            OperatorDocument::Train(train) if node.name == model => {
                Some((train.label.clone(), train.features.clone(), Some(train.time.clone())))
            }
            OperatorDocument::Fit(fit) if node.name == model => Some((fit.label.clone(), fit.features.clone(), None)),
            _ => None,
        });
        // Without it the graph is refused, for nothing of that name comes on port 1.
        let (label, features, time) = trained.unwrap_or_default();
        let model_name = model.to_owned();
        let freshness = FreshnessDocument::Consistent;
        let predict = PredictDocument {
            model: model_name,
            label,
            label_type: None,
            outputs: Vec::new(),
            features,
            time,
            freshness,
            question: QuestionDocument::Prediction,
        };
        let inputs = vec![input(&self.head, 0), input(model, 1)];
        self.add(name, inputs, OperatorDocument::Predict(predict))
    }

    /// Writes the rows to the outside.
    pub fn sink(self, name: &str, sink: Sink) -> Self {
        let head = self.head.clone();
        self.chain(name, OperatorDocument::Sink(sink.0)).from(&head)
    }

    /// Any other operator behind the head.
    pub fn chain(self, name: &str, operator: OperatorDocument) -> Self {
        let inputs = vec![input(&self.head, 0)];
        self.add(name, inputs, operator)
    }

    /// The plan.
    #[must_use]
    pub fn plan(self) -> PlanDocument {
        self.document
    }

    fn add(mut self, name: &str, mut inputs: Vec<InputDocument>, operator: OperatorDocument) -> Self {
        let partitioning = self.partitioning.take();
        inputs.iter_mut().take(1).for_each(|input| input.partitioning.clone_from(&partitioning));
        let name = name.to_owned();
        self.head.clone_from(&name);
        self.document.nodes.push(NodeDocument { name, inputs, operator, parallelism: None, columns: None });
        self
    }
}

/// Rows that are to be put together by key.
#[derive(Debug, Clone)]
#[must_use = "an aggregation follows"]
pub struct Keyed {
    flow: Dataflow,
    keys: Vec<String>,
}

impl Keyed {
    /// Within windows over an event-time column.
    pub fn window(self, time: &str, window: Window) -> Windowed {
        Windowed { keyed: self, time: time.to_owned(), window }
    }

    /// Groups without windows, whose results are updated: names and calls of aggregate functions.
    pub fn aggregate<'a>(self, name: &str, aggregates: impl IntoIterator<Item = (&'a str, &'a str)>) -> Dataflow {
        let aggregate = AggregateDocument {
            keys: self.keys,
            time: None,
            aggregates: calls(aggregates),
            emit: ChangesDocument::OnUpdate,
            gather_ms: None,
            ttl: None,
        };
        self.flow.chain(name, OperatorDocument::Aggregate(aggregate))
    }
}

/// Rows that are to be put together by key and window.
#[derive(Debug, Clone)]
#[must_use = "an aggregation follows"]
pub struct Windowed {
    keyed: Keyed,
    time: String,
    window: Window,
}

impl Windowed {
    /// Groups whose results come once their windows have closed: names and calls of aggregate functions.
    pub fn aggregate<'a>(self, name: &str, aggregates: impl IntoIterator<Item = (&'a str, &'a str)>) -> Dataflow {
        let Self { keyed: Keyed { flow, keys }, time, window } = self;
        let aggregates = calls(aggregates);
        let aggregate = WindowAggregateDocument { keys, time, window, aggregates, updates_within: 0 };
        flow.chain(name, OperatorDocument::WindowAggregate(aggregate))
    }
}

fn input(from: &str, port: u32) -> InputDocument {
    InputDocument { from: from.to_owned(), port, partitioning: None }
}

fn calls<'a>(aggregates: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Call> {
    let call = |(name, call): (&str, &str)| Call { name: Some(name.to_owned()), call: call.into() };
    aggregates.into_iter().map(call).collect()
}

fn owned<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use tidemill_plans::settings::Settings;

    use super::*;

    fn clicks() -> Dataflow {
        Dataflow::source(
            "clicks",
            Source::new("files")
                .option("path", "clicks")
                .option("format", "json")
                .column("page", "VARCHAR")
                .column("bought", "BOOLEAN")
                .column("ts", "TIMESTAMP")
                .event_time("ts", "ts - INTERVAL '2 seconds'"),
        )
    }

    #[test]
    fn calls_make_the_plan_that_json_says() {
        let plan = clicks()
            .set("parallelism", "2")
            .key_by(["page"])
            .window("ts", Window::tumble(60_000_000))
            .aggregate("pages", [("n", "count(*)")])
            .filter("often", "n > 1")
            .parallelism(2)
            .sink("out", Sink::new("print").time("window_end"))
            .from("clicks")
            .train("buys", Train::new("logistic_reg", "bought", "ts").features(["page"]))
            .from("clicks")
            .predict("predicted", "buys")
            .sink("predictions", Sink::new("blackhole"))
            .plan();
        let json = r#"{"version": 1, "settings": {"parallelism": "2"}, "nodes": [
          {"name": "clicks", "operator": {"source": {"connector": "files",
            "options": {"path": "clicks", "format": "json"},
            "reads": [{"name": "page", "type": "VARCHAR"}, {"name": "bought", "type": "BOOLEAN"},
                      {"name": "ts", "type": "TIMESTAMP"}],
            "event_time": {"column": "ts", "watermark": "ts - INTERVAL '2 seconds'"}}}},
          {"name": "pages", "inputs": [{"from": "clicks"}], "operator": {"window_aggregate": {"keys": ["page"],
            "time": "ts", "window": {"tumble": {"size": 60000000}},
            "aggregates": [{"name": "n", "call": "count(*)"}]}}},
          {"name": "often", "inputs": [{"from": "pages"}], "parallelism": 2,
            "operator": {"filter": {"predicate": "n > 1"}}},
          {"name": "out", "inputs": [{"from": "often"}],
            "operator": {"sink": {"connector": "print", "time": "window_end"}}},
          {"name": "buys", "inputs": [{"from": "clicks"}], "operator": {"train": {"model": "buys",
            "model_type": "logistic_reg", "label": "bought", "time": "ts", "features": ["page"],
            "publish_every": 3600000000}}},
          {"name": "predicted", "inputs": [{"from": "clicks"}, {"from": "buys", "port": 1}],
            "operator": {"predict": {"model": "buys", "label": "bought", "features": ["page"], "time": "ts"}}},
          {"name": "predictions", "inputs": [{"from": "predicted"}],
            "operator": {"sink": {"connector": "blackhole"}}}]}"#;
        assert_eq!(plan, PlanDocument::from_json(json).unwrap());
        plan.to_graph(&Settings::default()).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_when_the_graph_is_made() {
        let unknown = clicks().predict("predicted", "sells").sink("out", Sink::new("print")).plan();
        let error = unknown.to_graph(&Settings::default()).unwrap_err().to_string();
        let expected = "the plan cannot run: node 'predicted', nodes[1].inputs[1].from: no node 'sells' stands in front \
                        of this one";
        assert_eq!(error, expected);
    }
}
