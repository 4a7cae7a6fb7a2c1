//! What requests are answered with: fields of MLflow's `model_registry.proto`, as JSON has them.

use serde::Serialize;
use tidemill_plans::catalog::{CatalogEntry, ModelVersion as Measured, UNTIMED};
use tidemill_plans::model_reference::{ModelReference, WantedVersion};
use tidemill_plans::prediction::KnownVersion;
use tidemill_plans::time::EventTime;

/// Nothing more than that it has been done.
#[derive(Debug, Serialize)]
pub(super) struct Done {}

/// A page of models, by name.
#[derive(Debug, Serialize)]
pub(super) struct FoundModels {
    pub(super) registered_models: Vec<RegisteredModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_page_token: Option<String>,
}

/// A page of versions, by the model's name, the newest first.
#[derive(Debug, Serialize)]
pub(super) struct FoundVersions {
    pub(super) model_versions: Vec<ModelVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_page_token: Option<String>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(super) struct OneModel {
    pub(super) registered_model: RegisteredModel,
}

/// One version.
#[derive(Debug, Serialize)]
pub(super) struct OneVersion {
    pub(super) model_version: ModelVersion,
}

/// A model. When it was made is not known here.
#[derive(Debug, Serialize)]
pub(super) struct RegisteredModel {
    name: String,
    /// The statement that made it, for its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The version that answers for its name.
    latest_versions: Vec<ModelVersion>,
    aliases: Vec<Alias>,
}

/// A name of a version.
#[derive(Debug, Serialize)]
struct Alias {
    alias: String,
    version: String,
}

/// A version that can be asked.
#[derive(Debug, Serialize)]
pub(super) struct ModelVersion {
    name: String,
    version: String,
    /// MLflow's word for a version that has no stage. Here none has: aliases say what versions are for.
    current_stage: &'static str,
    /// How SQL names it: `m$3`.
    source: String,
    status: &'static str,
    aliases: Vec<String>,
    /// What was measured of it, and how many rows it has learnt. Numbers are as they are computed with.
    tags: Vec<Tag>,
}

/// Something that is known of a version.
#[derive(Debug, Serialize)]
struct Tag {
    key: String,
    value: String,
}

impl RegisteredModel {
    /// A model with its versions, which are in order of their numbers.
    pub(super) fn new(entry: &CatalogEntry, is_owner: bool, versions: &[KnownVersion], measured: &[Measured]) -> Self {
        let newest = versions.iter().filter(|known| known.is_newest);
        let alias = |known: &KnownVersion| {
            let version = known.version.to_string();
            known.aliases.clone().into_iter().map(move |alias| Alias { alias, version: version.clone() })
        };
        let mut aliases: Vec<Alias> = versions.iter().flat_map(alias).collect();
        aliases.sort_by(|a, b| a.alias.cmp(&b.alias));
        Self {
            name: entry.name.clone(),
            description: is_owner.then(|| entry.definition.clone()),
            latest_versions: newest.map(|known| ModelVersion::new(&entry.name, known, measured)).collect(),
            aliases,
        }
    }
}

impl ModelVersion {
    /// A version of a model, with what was measured of it, if that is among what was measured.
    pub(super) fn new(model: &str, known: &KnownVersion, measured: &[Measured]) -> Self {
        let measured = measured.iter().find(|one| one.version == known.version);
        let learnt_to = Some(known.learnt_to).filter(|time| *time != UNTIMED);
        let learnt_to = learnt_to.map(|time| ("learnt_to".to_owned(), EventTime(time).to_string()));
        let rows = measured.map(|one| ("rows_learnt".to_owned(), one.rows_learnt.to_string()));
        let metrics = measured.iter().flat_map(|one| &one.metrics).filter(|(_, value)| value.is_finite());
        let metrics = metrics.map(|(name, value)| (name.clone(), value.to_string()));
        Self {
            name: model.to_owned(),
            version: known.version.to_string(),
            current_stage: "None",
            source: ModelReference { model, version: WantedVersion::Number(known.version) }.to_string(),
            status: "READY",
            aliases: known.aliases.clone(),
            tags: learnt_to.into_iter().chain(rows).chain(metrics).map(|(key, value)| Tag { key, value }).collect(),
        }
    }
}
