//! A plan as a whole: its root, and the names that functions and types have outside of it.

use prost::{Message, Oneof};

use super::{Rel, Unread};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Plan {
    #[prost(message, repeated, tag = "2")]
    pub(crate) extensions: Vec<Declaration>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) relations: Vec<PlanRel>,
    #[prost(message, optional, tag = "4")]
    pub(crate) advanced: Option<Advanced>,
    #[prost(message, optional, tag = "6")]
    pub(crate) version: Option<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(uint32, tag = "1")]
    pub(crate) major: u32,
    #[prost(string, tag = "5")]
    pub(crate) producer: String,
}

/// What a producer adds. Who does not know an enhancement does not know what the plan means.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Advanced {
    #[prost(message, optional, tag = "2")]
    pub(crate) enhancement: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Declaration {
    #[prost(oneof = "Declared", tags = "1, 3")]
    pub(crate) declared: Option<Declared>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Declared {
    #[prost(message, tag = "1")]
    Type(Named),
    #[prost(message, tag = "3")]
    Function(Named),
}

/// The name that stands for a number in the plan.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Named {
    #[prost(uint32, tag = "2")]
    pub(crate) anchor: u32,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlanRel {
    #[prost(oneof = "PlanRelKind", tags = "1, 2")]
    pub(crate) kind: Option<PlanRelKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum PlanRelKind {
    #[prost(message, tag = "1")]
    Rel(Rel),
    #[prost(message, tag = "2")]
    Root(RelRoot),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RelRoot {
    #[prost(message, optional, tag = "1")]
    pub(crate) input: Option<Rel>,
    /// The names of the result's columns, those of a struct's fields behind its own.
    #[prost(string, repeated, tag = "2")]
    pub(crate) names: Vec<String>,
}
