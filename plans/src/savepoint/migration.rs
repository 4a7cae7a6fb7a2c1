//! What a graph keeps of a savepoint: which operator takes whose state, and why one does not.
//!
//! An operator takes the state of the one with its name, if that means the same. Else it takes that of another
//! operator of the same object which does: a query with one more aggregation in front numbers them anew. The rest
//! begins with nothing, or is dropped, and that is refused unless the user has said that it may.

use std::collections::BTreeSet;

use super::{Keeps, SavedOperator, Savepoint, keeps};
use crate::checkpoint::Origin;
use crate::error::{PlanError, Result};
use crate::graph::{DataflowGraph, Node};
use crate::node::NodeKind;

/// What becomes of the operators of a graph and of the state in a savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Each operator of the graph, by name.
    pub operators: Vec<(String, Fate)>,
    /// The operators of the savepoint whose state nobody takes, and what it means.
    pub dropped: Vec<(String, String)>,
}

/// What becomes of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on with the state of this operator.
    Keeps(Origin),
    /// The same, though its state has come about in another way; it says how.
    KeepsOther(Origin, String),
    /// The operator of its name has state that it cannot read; it says why.
    CannotKeep(String),
    /// It begins with nothing: the savepoint has nothing for it.
    Begins,
    /// It has no state.
    Stateless,
}

impl Fate {
    /// The fate in a word or two.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Keeps(_) => "kept",
            Self::KeepsOther(..) => "kept if allowed",
            Self::CannotKeep(_) => "not kept",
            Self::Begins => "begins empty",
            Self::Stateless => "no state",
        }
    }

    /// Whose state the operator takes.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Keeps(origin) | Self::KeepsOther(origin, _) => Some(*origin),
            _ => None,
        }
    }
}

impl Migration {
    /// What becomes of `graph` and of a savepoint.
    #[must_use]
    pub fn of(savepoint: &Savepoint, graph: &DataflowGraph) -> Self {
        let wanted: Vec<Option<Keeps>> = graph.nodes.iter().map(|node| keeps::of(graph, node)).collect();
        let mut taken = BTreeSet::new();
        let mut fates: Vec<Option<Fate>> = vec![None; graph.nodes.len()];
        // Those that fit in all, under their own name first; then under another; then those that may be allowed.
        for rule in [same_name, same_object] {
            for (place, node) in graph.nodes.iter().enumerate() {
                let Some(wanted) = wanted[place].as_ref().filter(|_| fates[place].is_none()) else { continue };
                let fits = |saved: &&SavedOperator| rule(saved, node) && saved.keeps.as_ref() == Some(wanted);
                let found = savepoint.operators.iter().filter(|saved| !taken.contains(&saved.id)).find(fits);
                if let Some(saved) = found {
                    taken.insert(saved.id);
                    fates[place] = Some(Fate::Keeps(saved.origin()));
                }
            }
        }
        for (place, node) in graph.nodes.iter().enumerate() {
            let Some(wanted) = wanted[place].as_ref().filter(|_| fates[place].is_none()) else { continue };
            let mut others = savepoint.operators.iter().filter(|saved| !taken.contains(&saved.id));
            fates[place] = Some(match others.find(|saved| same_name(saved, node) && saved.keeps.is_some()) {
                None => Fate::Begins,
                Some(saved) => match compare(saved, wanted) {
                    Ok(difference) => {
                        taken.insert(saved.id);
                        Fate::KeepsOther(saved.origin(), difference)
                    }
                    Err(reason) => Fate::CannotKeep(reason),
                },
            });
        }
        let fates = fates.into_iter().map(|fate| fate.unwrap_or(Fate::Stateless));
        let operators = graph.nodes.iter().map(|node| node.name.clone()).zip(fates).collect();
        let left = savepoint.operators.iter().filter(|saved| !taken.contains(&saved.id));
        let dropped = left.filter_map(|saved| Some((saved.name.clone(), saved.keeps.as_ref()?.what.clone()))).collect();
        Self { operators, dropped }
    }

    /// Whose state each operator takes, by the operators' numbers. An error says what is in the way; `allow` says
    /// that state may be dropped, or kept though it has come about in another way.
    pub fn origins(&self, url: &str, allow: bool) -> Result<Vec<Option<Origin>>> {
        let reasons = if allow { Vec::new() } else { self.reasons() };
        if reasons.is_empty() {
            return Ok(self.operators.iter().map(|(_, fate)| fate.origin()).collect());
        }
        let reason = format!(
            "this query cannot go on from it with all of its state: {}; SET allow_dropped_state = true to start \
             without what does not fit",
            reasons.join("; ")
        );
        Err(PlanError::Savepoint { url: url.to_owned(), reason })
    }

    fn reasons(&self) -> Vec<String> {
        let refused = self.operators.iter().filter_map(|(name, fate)| match fate {
            Fate::KeepsOther(_, reason) | Fate::CannotKeep(reason) => Some(format!("{name}: {reason}")),
            _ => None,
        });
        let refused: Vec<String> = refused.collect();
        let is_told = |name: &str| refused.iter().any(|reason| reason.starts_with(&format!("{name}: ")));
        let dropped = self.dropped.iter().filter(|(name, _)| !is_told(name));
        let dropped = dropped.map(|(name, what)| format!("{name} ({what}) is not in the query"));
        dropped.chain(refused.iter().cloned()).collect()
    }
}

/// How many instances the sources of a graph had, by their places in it: they have dealt out among themselves what there is to read.
pub fn source_instances(savepoint: &Savepoint, migration: &Migration, graph: &DataflowGraph) -> Vec<(usize, u32)> {
    let fates = graph.nodes.iter().zip(&migration.operators).enumerate();
    let sources = fates.filter(|(_, (node, _))| matches!(node.kind, NodeKind::Source(_)));
    let had = |origin: Origin| savepoint.operators.iter().find(|saved| saved.origin() == origin);
    sources.filter_map(|(place, (_, (_, fate)))| Some((place, had(fate.origin()?)?.parallelism))).collect()
}

fn same_name(saved: &SavedOperator, node: &Node) -> bool {
    saved.name == node.name && saved.kind == node.kind.name()
}

/// Whether two do the same for the same object.
fn same_object(saved: &SavedOperator, node: &Node) -> bool {
    let object = |name: &str, kind: &str| name.rsplit_once(kind).map(|(object, _)| object.to_owned());
    saved.kind == node.kind.name() && object(&saved.name, &saved.kind) == object(&node.name, node.kind.name())
}

/// How state differs from what is wanted, though it can be read; an error if it cannot.
fn compare(saved: &SavedOperator, wanted: &Keeps) -> Result<String, String> {
    let Some(kept) = &saved.keeps else { return Err(String::from("it has no state")) };
    if kept.inputs.len() != wanted.inputs.len() {
        return Err(String::from("it has other inputs"));
    }
    for (had, has) in kept.inputs.iter().zip(&wanted.inputs) {
        let types = |columns: &[(String, String)]| columns.iter().map(|(_, kind)| kind.clone()).collect::<Vec<_>>();
        if types(had) != types(has) {
            return Err(format!("its input had ({}), and has ({}) now", shown(had), shown(has)));
        }
    }
    let readable = match saved.kind.as_str() {
        // The columns of the state are those of the functions.
        "Aggregate" | "WindowAggregate" | "SessionWindow" | "OverWindow" | "TopN" | "Train" => kept.what == wanted.what,
        _ => true,
    };
    if !readable {
        return Err(format!("it kept {}, and would keep {} now", kept.what, wanted.what));
    }
    match kept.what == wanted.what {
        true => Ok(format!("its input was ({}) under other names", shown(&kept.inputs.concat()))),
        false => Ok(format!("it was {}, and is {} now", kept.what, wanted.what)),
    }
}

fn shown(columns: &[(String, String)]) -> String {
    columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
}
