//! Dataflow plans as JSON documents: what SQL cannot say of a job, such as its operators one by one, how rows are spread
//! between them, and how many instances each has.
//!
//! A document becomes the graph that workers run, as SQL does; what SQL would refuse of an operator is refused here, with
//! the node and the path to what is wrong. A graph becomes a document from which it comes again as it was.
//! [`operator`] has the operators as data, [`read`] makes graphs of documents, [`write`] documents of graphs.

mod columns;
mod expression;
mod operator;
mod read;
mod transform;
mod write;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidemill_plans::ErrorDomain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::settings::Settings;

pub use self::columns::ColumnDocument;
pub use self::expression::ExprDocument;
pub use self::operator::*;
use crate::problem::{Problem, Read};
use crate::stack::on_deep_stack;

/// The version of the form.
pub const VERSION: u32 = 1;

/// Nodes of a document at most.
const NODES_MAX: usize = 1_000;

/// A job as operators and the edges between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// The version of this form: 1.
    pub version: u32,
    /// Settings of the job, as SET names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The operators; each stands behind those that it reads.
    pub nodes: Vec<NodeDocument>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeDocument {
    /// What it is called: by those that read it, in metrics, and in checkpoints.
    pub name: String,
    /// What it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputDocument>,
    /// What it does.
    pub operator: OperatorDocument,
    /// How many instances run. Unless given: of what has keys, as many as the setting parallelism says; of what has
    /// none, but puts rows together, one; else as many as of what it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Its columns, if they are to have other names than they would; their types are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<ColumnDocument>>,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputDocument {
    /// The node that is read.
    pub from: String,
    /// Which input of the operator it is: 0 but for joins (1 is the right side) and predictions (1 is the model).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: u32,
    /// How rows are spread over instances. Unless given: by the operator's keys, where it has some; the versions of a
    /// model to all; else each instance to the one beside it, or in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitioning: Option<PartitioningDocument>,
}

/// How rows are spread over the instances of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PartitioningDocument {
    /// Each instance to the one beside it.
    Forward,
    /// By these columns.
    Hash(Vec<String>),
    /// Batches in turn.
    Rebalance,
    /// Everything to all.
    Broadcast,
    /// Everything to the first.
    First,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the plan cannot run: {}{path}: {message}", node.as_ref().map(|node| format!("node '{node}', ")).unwrap_or_default())]
pub struct DocumentError {
    /// The node, if it is in one.
    pub node: Option<String>,
    /// Where in the document.
    pub path: String,
    /// What.
    pub message: String,
}

impl DocumentError {
    /// Whose error it is: the document's author's.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        ErrorDomain::User
    }
}

impl PlanDocument {
    /// A document without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self { version: VERSION, settings: BTreeMap::new(), nodes: Vec::new() }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Where the text is not JSON, or not of this form.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let failed = |path: String, message: String| DocumentError { node: None, path, message };
        let document = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| failed(error.path().to_string(), error.inner().to_string()))?;
        json.end().map_err(|error| failed(String::from("."), error.to_string()))?;
        Ok(document)
    }

    /// The document as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // It has neither maps without text keys nor values that refuse to be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The form of documents as JSON Schema, draft 2020-12.
    #[must_use]
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The same as text.
    #[must_use]
    pub fn json_schema_text() -> String {
        // It is a tree of values.
        serde_json::to_string_pretty(&Self::json_schema()).unwrap_or_default() + "\n"
    }

    /// The graph that the document describes, and the settings of its job; `settings` are those that it does not name.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn to_graph(&self, settings: &Settings) -> Result<(DataflowGraph, Settings), DocumentError> {
        on_deep_stack(|| self.read(settings)).map_err(|problem| {
            let (path, message) = problem.into_parts();
            DocumentError { node: self.node_at(&path), path, message }
        })
    }

    /// The document of a graph, from which it comes again.
    ///
    /// # Errors
    /// Where the graph is not valid.
    pub fn of_graph(graph: &DataflowGraph) -> crate::error::Result<Self> {
        let nodes: crate::error::Result<_> =
            on_deep_stack(|| graph.nodes.iter().map(|node| write::node(graph, node)).collect());
        Ok(Self { nodes: nodes?, ..Self::new() })
    }

    fn node_at(&self, path: &str) -> Option<String> {
        let index = path.strip_prefix("nodes[")?.split_once(']')?.0.parse::<usize>().ok()?;
        self.nodes.get(index).map(|node| node.name.clone())
    }

    fn read(&self, settings: &Settings) -> Read<(DataflowGraph, Settings)> {
        use crate::problem::Within;
        if self.version != VERSION {
            return Err(Problem::new(format!("it is {}, and this release reads {VERSION}", self.version)))
                .within("version");
        }
        let mut settings = settings.clone();
        for (name, value) in &self.settings {
            settings.set(name, value).map_err(Problem::from).within(name).within("settings")?;
        }
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            let message = format!("there are {}; 1 to {NODES_MAX} can run", self.nodes.len());
            return Err(Problem::new(message)).within("nodes");
        }
        let mut reader = read::Reader::new(settings);
        for (index, node) in self.nodes.iter().enumerate() {
            reader.add(node).at(index).within("nodes")?;
        }
        reader.finish()
    }
}

impl Default for PlanDocument {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod tests;
