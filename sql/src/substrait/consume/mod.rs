//! From messages to DataFusion's plans, which name columns: the specification calls them by number, among those of a
//! relation's inputs.
//!
//! So each relation's columns get names that differ, whatever comes together in it; the last ones are the result's own.
//! How much a plan can become is bounded by its parts: relations, expressions and columns.

mod aggregate;
mod expression;
mod fetch;
mod function;
mod join;
mod literal;
mod names;
mod nested_literal;
mod project;
mod read;
mod root;
mod set;
mod subquery;
mod types;
mod virtual_table;
mod window;

use std::collections::BTreeMap;

use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

pub(super) use self::read::object_name;
use self::subquery::Outside;
use super::SubstraitPlan;
use super::messages::{Common, Declared, EmitKind, FilterRel, Plan, Rel, RelKind};
use crate::error::Result;
use crate::planner::QueryPlanner;
use crate::planner::context::PlanningContext;
use crate::problem::{Problem, Read, Within};

/// How many relations, expressions and columns a plan may have together.
const PARTS_MAX: usize = 100_000;

/// How many columns a relation may have.
const COLUMNS_MAX: usize = 2_000;

/// What the parts of a plan mean to this catalog.
struct Consumer<'a> {
    context: PlanningContext<'a>,
    /// The names of functions, and of types that are not the specification's, by their numbers.
    functions: BTreeMap<u32, &'a str>,
    types: BTreeMap<u32, &'a str>,
    /// The functions of the session that are called.
    uses: Vec<String>,
    /// The rows around the subquery that is read, the nearest last.
    outside: Vec<Outside>,
    /// How many relations of subqueries have names of their own.
    renamed: usize,
    parts: usize,
}

impl QueryPlanner<'_> {
    /// The plan of a plan in Substrait, with columns and types as they come from SQL.
    pub(crate) fn plan_substrait(&mut self, plan: &SubstraitPlan) -> Result<LogicalPlan> {
        let mut consumer = Consumer::new(
            PlanningContext {
                catalog: self.catalog,
                relations: Default::default(),
                tables: None,
                predictions: Default::default(),
            },
            &plan.0,
        );
        let consumed = consumer.plan(&plan.0).map_err(Problem::into_error);
        let uses = consumer.uses;
        uses.iter().for_each(|name| self.note_use(name));
        consumed
    }
}

impl<'a> Consumer<'a> {
    fn new(context: PlanningContext<'a>, plan: &'a Plan) -> Self {
        let (mut functions, mut types) = (BTreeMap::new(), BTreeMap::new());
        for declaration in &plan.extensions {
            match &declaration.declared {
                // Behind the colon are the types of the arguments.
                Some(Declared::Function(function)) => {
                    let name = function.name.split(':').next().unwrap_or_default();
                    functions.insert(function.anchor, name);
                }
                Some(Declared::Type(declared)) => {
                    types.insert(declared.anchor, declared.name.as_str());
                }
                None => {}
            }
        }
        Self { context, functions, types, uses: Vec::new(), outside: Vec::new(), renamed: 0, parts: 0 }
    }

    /// Notes that there are so many parts more.
    fn count(&mut self, parts: usize) -> Read<()> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts <= PARTS_MAX {
            return Ok(());
        }
        Err(Problem::new(format!(
            "the plan has more than {PARTS_MAX} relations, expressions and columns; read rows from files, and name \
             steps as views"
        )))
    }

    /// Notes a relation of so many columns.
    fn count_columns(&mut self, columns: usize) -> Read<()> {
        if columns > COLUMNS_MAX {
            return Err(Problem::new(format!("it has {columns} columns, and {COLUMNS_MAX} are possible")));
        }
        self.count(columns)
    }

    /// An input that has to be there.
    fn input(&mut self, input: Option<&Rel>, member: &str) -> Read<LogicalPlan> {
        let input = input.ok_or_else(|| Problem::new("it is missing")).within(member)?;
        self.relation(input).within(member)
    }

    fn relation(&mut self, rel: &Rel) -> Read<LogicalPlan> {
        let Some(kind) = &rel.kind else {
            return Err(Problem::unsupported("a relation of a kind that is not known", "send another, or SQL"));
        };
        self.relation_of(kind).within(kind.name())
    }

    fn relation_of(&mut self, kind: &RelKind) -> Read<LogicalPlan> {
        check_extensions(kind)?;
        self.count(1)?;
        let plan = self.chosen(kind)?;
        self.apart_from_outside(plan)
    }

    /// A relation, of whose columns those come out that it says.
    fn chosen(&mut self, kind: &RelKind) -> Read<LogicalPlan> {
        let plan = match kind {
            RelKind::Read(read) => self.read(read),
            RelKind::Filter(filter) => self.filter(filter),
            RelKind::Fetch(fetch) => self.fetch(fetch),
            RelKind::Aggregate(aggregate) => self.aggregate(aggregate),
            RelKind::Sort(sort) => self.sort(sort),
            RelKind::Join(join) => self.join(join),
            // It has the mapping taken in.
            RelKind::Project(project) => return self.project(project),
            RelKind::Set(set) => self.set(set),
            RelKind::Cross(cross) => self.cross(cross),
            RelKind::Window(window) => self.window(window),
            RelKind::Write(_) => {
                Err(Problem::unsupported("a write below another relation", "it stands right below the root"))
            }
            other => Err(unsupported(other)),
        }?;
        self.count_columns(plan.schema().fields().len())?;
        match mapping(kind.common().0) {
            Some(mapping) => self.emit(plan, mapping),
            None => Ok(plan),
        }
    }

    fn filter(&mut self, filter: &FilterRel) -> Read<LogicalPlan> {
        let input = self.input(filter.input.as_ref(), "input")?;
        let condition = self.required(filter.condition.as_ref(), input.schema(), "condition")?;
        Ok(LogicalPlanBuilder::from(input).filter(condition).and_then(LogicalPlanBuilder::build)?)
    }
}

/// The mapping of a relation's columns, if it has one.
fn mapping(common: Option<&Common>) -> Option<&[i32]> {
    match common?.emit.as_ref()? {
        EmitKind::Direct(_) => None,
        EmitKind::Mapped(emit) => Some(&emit.mapping),
    }
}

/// Refuses what a producer has added and nobody but it knows the meaning of.
fn check_extensions(kind: &RelKind) -> Read<()> {
    let (common, advanced) = kind.common();
    let advanced = common.and_then(|common| common.advanced.as_ref()).into_iter().chain(advanced);
    match advanced.into_iter().find(|advanced| advanced.enhancement.is_some()) {
        None => Ok(()),
        Some(_) => Err(Problem::unsupported("an enhancement", "leave it out, or send SQL")),
    }
}

fn unsupported(kind: &RelKind) -> Problem {
    let hint = match kind {
        RelKind::HashJoin(_) | RelKind::MergeJoin(_) | RelKind::NestedLoopJoin(_) => "send the logical plan: a join",
        RelKind::Exchange(_) => "leave it out; the server places the rows itself",
        RelKind::Ddl(_) | RelKind::Update(_) => "make and change objects with SQL",
        RelKind::Reference(_) => "repeat the relation; one that is read twice can be a view",
        RelKind::Expand(_) => "send one plan for each grouping",
        _ => "read, filter, project, aggregate, join, cross, set, sort, fetch, window and write are possible",
    };
    Problem::unsupported(format!("{} as a relation", kind.name()), hint)
}
