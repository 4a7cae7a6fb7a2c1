//! Versions of models: which one a query means, what ALTER MODEL and SHOW VERSIONS say of them, and their numbers.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Ident;
use tidemill_plans::catalog::{BesideGuess, ModelVersion};
use tidemill_plans::model_reference::{ModelReference, WantedVersion};
use tidemill_plans::prediction::{KnownVersion, TrainedModel, TrainedModels};

use arrow::array::RecordBatch;

use crate::ast::{normalize, quoted};
use crate::catalog::{Catalog, Detail, ModelObject, Object};
use crate::error::{Result, SqlError};
use crate::parser::ParsedStatement;
use crate::session::{Outcome, Session};
use crate::show::{measured, shown_time, table};
use crate::statement::{AlterModel, CreateModel, Name, Statement};

/// The option that says which number a version has, in the statement of a model that is there.
pub(crate) const VERSION: &str = "version";

/// A change of a model's aliases, for whoever keeps its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasCommand {
    /// The model's name.
    pub model: String,
    /// The alias.
    pub alias: String,
    /// The version that is to have it; none if no version is to.
    pub version: Option<i64>,
}

/// The name of the model, without what is said of its version.
pub(crate) fn model_name(model: &Ident) -> String {
    let name = normalize(model);
    ModelReference::parse(&name).map(|reference| reference.model.to_owned()).unwrap_or(name)
}

/// Does something with what an identifier says of a model and its version; errors are at its place.
fn with_reference<T>(model: &Ident, read: impl FnOnce(ModelReference<'_>) -> Result<T>) -> Result<T> {
    let name = normalize(model);
    let reference = ModelReference::parse(&name).map_err(SqlError::invalid);
    reference.and_then(read).map_err(|error| error.at(model.span))
}

impl Catalog {
    /// The model that a query names, whichever of its versions it means.
    pub(crate) fn model_of(&self, model: &Ident) -> Result<(&Arc<Object>, &ModelObject)> {
        with_reference(model, |reference| self.model(reference.model))
    }

    /// The model that something takes which knows of no versions.
    pub(crate) fn unversioned_model(&self, model: &Ident, what: &str) -> Result<(&Arc<Object>, &ModelObject)> {
        with_reference(model, |reference| match reference {
            ModelReference { model, version: WantedVersion::Newest } => self.model(model),
            ModelReference { model, .. } => {
                let hint = format!("name the model alone: {model}");
                Err(SqlError::unsupported(format!("{what} of a version"), hint))
            }
        })
    }

    /// The version of a model that a function asks at once: the one that has learnt most, unless another is named.
    pub(crate) fn trained_model(&self, model: &Ident, function: &str) -> Result<Arc<TrainedModel>> {
        with_reference(model, |reference| {
            self.model(reference.model)?;
            self.served(function)?.find(&reference).map_err(SqlError::invalid)
        })
    }

    /// Whether the versions of a model over tables come to streams as they are served: where models are, unless the newest is
    /// too large.
    pub(crate) fn serves(&self, model: &str) -> bool {
        let Some(trained) = &self.trained else { return false };
        let newest = ModelReference { model, version: WantedVersion::Newest };
        self.kept_version(model).is_none() || trained.find(&newest).is_ok()
    }

    /// The version that answers for a model's plain name, if there is one.
    pub(crate) fn kept_version(&self, model: &str) -> Option<KnownVersion> {
        self.trained.as_ref()?.versions(model).into_iter().find(|known| known.is_newest)
    }

    /// Whether something that is made of a model has this text in its statement.
    fn mentions(&self, model: &str, text: &str) -> bool {
        self.objects().any(|user| user.uses.iter().any(|used| used == model) && user.definition.contains(text))
    }

    fn served(&self, what: &str) -> Result<&Arc<dyn TrainedModels>> {
        let hint = "tidemill serve and shell have it";
        self.trained.as_ref().ok_or_else(|| SqlError::unsupported(format!("{what} where no model is served"), hint))
    }
}

impl ParsedStatement {
    /// The model of which the statement shows or compares what was measured of its versions, which the coordinator knows.
    #[must_use]
    pub fn wants_versions_of(&self) -> Option<&str> {
        match &self.statement {
            Statement::ShowVersions(name) | Statement::AlterModel(AlterModel { name, version: Some(_), .. }) => {
                Some(&name.text)
            }
            _ => None,
        }
    }
}

impl Session {
    /// Takes note of what the registry knows of a model's versions, for whoever asks next.
    pub fn set_versions(&mut self, versions: Vec<ModelVersion>) {
        self.versions = versions;
    }

    /// The number of the version that a statement makes.
    pub(crate) fn next_version(&self, create: &CreateModel) -> i64 {
        match self.catalog.find(&create.name.text).map(|object| &object.detail) {
            Some(Detail::Model(model)) => model.version + 1,
            _ => 1,
        }
    }

    /// ALTER MODEL: its owner gives aliases.
    pub(crate) fn alter_model(&self, alter: &AlterModel) -> Result<Outcome> {
        let AlterModel { name, alias, version, is_forced } = alter;
        self.catalog.model(&name.text).map_err(|error| error.at(name.at))?;
        self.require_owner(&name.text).map_err(|error| error.at(name.at))?;
        self.catalog.served("an alias")?;
        if let Some(version) = version {
            self.check_asks_alike(&name.text, &alias.text, *version).map_err(|error| error.at(alias.at))?;
            if !is_forced {
                self.check_beats_guess(&name.text, &alias.text, *version).map_err(|error| error.at(alias.at))?;
            }
        }
        let command = AliasCommand { model: name.text.clone(), alias: alias.text.clone(), version: *version };
        Ok(Outcome::Alias(command))
    }

    /// An error if views or sinks ask for an alias and could not go on with another version. Where there is none, whoever
    /// keeps versions says so.
    fn check_asks_alike(&self, model: &str, alias: &str, version: i64) -> Result<()> {
        let reference = |version| ModelReference { model, version };
        let trained = self.catalog.served("an alias")?;
        let named = reference(WantedVersion::Alias(alias)).to_string();
        let users = self.catalog.users(model).filter(|_| self.catalog.mentions(model, &named));
        let Some(users) = users else { return Ok(()) };
        let Ok(was) = trained.find(&reference(WantedVersion::Alias(alias))) else { return Ok(()) };
        let is = trained.find(&reference(WantedVersion::Number(version))).map_err(SqlError::invalid)?;
        let shape = |version: &TrainedModel| (version.inputs(), version.added());
        if shape(&was) == shape(&is) {
            return Ok(());
        }
        let what = format!(
            "{named} as version {version}, for {users} asks for it, and that takes or says other columns than now"
        );
        Err(SqlError::unsupported(what, "give it an alias of its own, or drop first what asks for this one"))
    }

    /// An error if a version does no better than a guess that looks at no feature. One of which that is not known passes.
    fn check_beats_guess(&self, model: &str, alias: &str, version: i64) -> Result<()> {
        let Some(beside) = self.measured(model, version).and_then(ModelVersion::beside_guess) else { return Ok(()) };
        if !beside.is_no_better() {
            return Ok(());
        }
        let BesideGuess { measure, model: own, guess } = beside;
        Err(SqlError::invalid(format!(
            "version {version} of '{model}' does no better than a guess that looks at no feature: its {measure} is {own:.6}, \
             and the guess's {guess:.6}; ALTER MODEL {} VERSION {version} SET ALIAS {} FORCE has it all the same",
            quoted(model),
            quoted(alias)
        )))
    }

    /// What the registry knows of a version.
    fn measured(&self, model: &str, version: i64) -> Option<&ModelVersion> {
        self.versions.iter().find(|one| one.model == model && one.version == version)
    }

    /// SHOW VERSIONS IN MODEL.
    pub(crate) fn show_versions(&self, name: &Name) -> Result<RecordBatch> {
        self.catalog.model(&name.text).map_err(|error| error.at(name.at))?;
        let versions = self.catalog.served("SHOW VERSIONS")?.versions(&name.text);
        let row = |KnownVersion { version, learnt_to, aliases, is_newest }: KnownVersion| {
            let [rows, metrics] = self.measured(&name.text, version).map(measured).unwrap_or_default();
            let named = [version.to_string(), shown_time(learnt_to), aliases.join(", "), is_newest.to_string()];
            named.into_iter().chain([rows, metrics]).collect()
        };
        let columns = ["version", "learnt_to", "aliases", "is_newest", "rows_learnt", "metrics"];
        table(&columns, versions.into_iter().map(row).collect())
    }
}

/// Model names that could be taken for versions are refused.
pub(crate) fn check_name(name: &Name) -> Result<()> {
    if name.text.is_empty() {
        return Err(SqlError::invalid("a model needs a name that has letters").at(name.at));
    }
    if ModelReference::is_plain(&name.text) {
        return Ok(());
    }
    let message =
        format!("'{}': a model's name has no $ and no @, behind which its versions and aliases are named", name.text);
    Err(SqlError::invalid(message).at(name.at))
}
