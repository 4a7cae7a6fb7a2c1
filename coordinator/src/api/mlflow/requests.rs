//! What each request does. Versions and aliases are those that are served; what changes something is a statement.

use tidemill_plans::catalog::{CatalogEntry, ModelVersion as Measured, ObjectKind};
use tidemill_plans::prediction::{KnownVersion, TrainedModels};

use super::answers::{Done, FoundModels, FoundVersions, ModelVersion, OneModel, OneVersion, RegisteredModel};
use super::filter::Filter;
use super::parameters::Parameters;
use super::refusal::{Code, Refusal};
use crate::api::rest::{Asking, Json};

type Answered<T> = Result<Json<T>, Refusal>;

/// The order that searches have anyway.
const ORDERS: [&str; 2] = ["name", "name ASC"];

/// A model is there with its first version, so there is none to be made without one.
pub(super) async fn create_model(asking: Asking, parameters: Parameters) -> Answered<Done> {
    let name = parameters.required("name")?;
    if models(&asking).await?.iter().any(|entry| entry.name == name) {
        return Err(Refusal::new(Code::ResourceAlreadyExists, format!("there is a model '{name}' already")));
    }
    let message = format!(
        "a model is there with its first version, and a statement makes both: CREATE MODEL {} WITH (model_type = …) AS SELECT …",
        quoted(name)
    );
    Err(Refusal::new(Code::NotImplemented, message))
}

pub(super) async fn search_models(asking: Asking, parameters: Parameters) -> Answered<FoundModels> {
    let (page, next_page_token) = parameters.page(searched(&asking, &parameters).await?)?;
    let mut registered_models = Vec::new();
    for entry in &page {
        registered_models.push(described(&asking, entry).await?);
    }
    Ok(Json(FoundModels { registered_models, next_page_token }))
}

pub(super) async fn model(asking: Asking, parameters: Parameters) -> Answered<OneModel> {
    let entry = model_of(&asking, &parameters).await?;
    Ok(Json(OneModel { registered_model: described(&asking, &entry).await? }))
}

/// DROP MODEL.
pub(super) async fn drop_model(asking: Asking, parameters: Parameters) -> Answered<Done> {
    let entry = model_of(&asking, &parameters).await?;
    asking.execute(&format!("DROP MODEL {}", quoted(&entry.name))).await?;
    Ok(Json(Done {}))
}

/// The newest version, which has no stage; of other stages there is none.
pub(super) async fn latest_versions(asking: Asking, parameters: Parameters) -> Answered<FoundVersions> {
    let Versions { name, known, measured } = versions_of(&asking, &parameters).await?;
    let mut stages = parameters.all("stages").peekable();
    let is_wanted = stages.peek().is_none() || stages.any(|stage| stage.eq_ignore_ascii_case("none"));
    let newest = known.iter().filter(|known| is_wanted && known.is_newest);
    let model_versions = newest.map(|known| ModelVersion::new(&name, known, &measured)).collect();
    Ok(Json(FoundVersions { model_versions, next_page_token: None }))
}

pub(super) async fn search_versions(asking: Asking, parameters: Parameters) -> Answered<FoundVersions> {
    let mut all = Vec::new();
    for entry in searched(&asking, &parameters).await? {
        let Versions { name, known, measured } = Versions::of(&asking, entry.name).await?;
        all.extend(known.iter().rev().map(|known| ModelVersion::new(&name, known, &measured)));
    }
    let (model_versions, next_page_token) = parameters.page(all)?;
    Ok(Json(FoundVersions { model_versions, next_page_token }))
}

pub(super) async fn version(asking: Asking, parameters: Parameters) -> Answered<OneVersion> {
    let number = parameters.version()?;
    versions_of(&asking, &parameters).await?.one(&format!("version {number}"), |known| known.version == number)
}

pub(super) async fn version_of_alias(asking: Asking, parameters: Parameters) -> Answered<OneVersion> {
    let alias = parameters.required("alias")?;
    let has_it = |known: &KnownVersion| known.aliases.iter().any(|own| own == alias);
    versions_of(&asking, &parameters).await?.one(&format!("alias '{alias}'"), has_it)
}

/// ALTER MODEL … SET ALIAS.
pub(super) async fn set_alias(asking: Asking, parameters: Parameters) -> Answered<Done> {
    let (alias, number) = (parameters.required("alias")?, parameters.version()?);
    let versions = versions_of(&asking, &parameters).await?;
    let name = quoted(&versions.name);
    drop(versions.one(&format!("version {number}"), |known| known.version == number)?);
    asking.execute(&format!("ALTER MODEL {name} VERSION {number} SET ALIAS {}", quoted(alias))).await?;
    Ok(Json(Done {}))
}

/// ALTER MODEL … UNSET ALIAS.
pub(super) async fn unset_alias(asking: Asking, parameters: Parameters) -> Answered<Done> {
    let alias = parameters.required("alias")?;
    let versions = versions_of(&asking, &parameters).await?;
    let name = quoted(&versions.name);
    drop(versions.one(&format!("alias '{alias}'"), |known| known.aliases.iter().any(|own| own == alias))?);
    asking.execute(&format!("ALTER MODEL {name} UNSET ALIAS {}", quoted(alias))).await?;
    Ok(Json(Done {}))
}

/// The models that somebody may know of, by name.
async fn models(asking: &Asking) -> Result<Vec<CatalogEntry>, Refusal> {
    let mut models = Vec::new();
    for entry in asking.coordinator().objects().await? {
        if entry.kind == ObjectKind::Model && asking.may_see(&entry.name, entry.kind)? {
            models.push(entry);
        }
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// Those that a search finds.
async fn searched(asking: &Asking, parameters: &Parameters) -> Result<Vec<CatalogEntry>, Refusal> {
    if let Some(order) = parameters.all("order_by").find(|order| !ORDERS.contains(order)) {
        return Err(Refusal::invalid(format!("order_by '{order}' is not here; there are: {}", ORDERS.join(", "))));
    }
    let filter = Filter::parse(parameters.optional("filter").unwrap_or_default())?;
    let mut found = Vec::new();
    for entry in models(asking).await? {
        if filter.finds(&entry.name)? {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The model that a request names.
async fn model_of(asking: &Asking, parameters: &Parameters) -> Result<CatalogEntry, Refusal> {
    let name = parameters.required("name")?;
    let found = models(asking).await?.into_iter().find(|entry| entry.name == name);
    found.ok_or_else(|| Refusal::missing(format!("there is no model '{name}'; registered-models/search lists them")))
}

async fn described(asking: &Asking, entry: &CatalogEntry) -> Result<RegisteredModel, Refusal> {
    let Versions { known, measured, .. } = Versions::of(asking, entry.name.clone()).await?;
    Ok(RegisteredModel::new(entry, asking.is_owner(entry), &known, &measured))
}

/// The versions of a model that can be asked, by number, and what was measured of versions.
struct Versions {
    name: String,
    known: Vec<KnownVersion>,
    measured: Vec<Measured>,
}

impl Versions {
    async fn of(asking: &Asking, name: String) -> Result<Self, Refusal> {
        let known = asking.coordinator().serving().versions(&name);
        let measured = asking.coordinator().versions_by_number(&name).await?;
        Ok(Self { name, known, measured })
    }

    /// The one that is meant.
    fn one(&self, what: &str, is_it: impl Fn(&KnownVersion) -> bool) -> Answered<OneVersion> {
        let missing = || Refusal::missing(format!("the model '{}' has no {what} that can be asked", self.name));
        let known = self.known.iter().find(|known| is_it(known)).ok_or_else(missing)?;
        Ok(Json(OneVersion { model_version: ModelVersion::new(&self.name, known, &self.measured) }))
    }
}

async fn versions_of(asking: &Asking, parameters: &Parameters) -> Result<Versions, Refusal> {
    Versions::of(asking, model_of(asking, parameters).await?.name).await
}

/// A name as SQL has it, whatever stands in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
