//! What whoever fits a model is warned of: it is no error, and may still be a mistake.

use arrow::datatypes::{DataType, Field, SchemaRef};
use tidemill_ml::FitReport;
use tracing::warn;

use super::Fit;
use super::giveaways::Giveaways;

/// How rows are held out, and the values by which that is chance.
const SPLIT_METHOD: &str = "data_split_method";
const RANDOM_SPLITS: [&str; 2] = ["random", "stratified"];

impl Fit {
    /// What looks for features that give the label away, among those that TRANSFORM makes or the columns.
    pub(super) fn giveaways(&self, made: Option<&SchemaRef>) -> Giveaways {
        let split = self.split.map(|split| self.input.field(split).name().as_str());
        let features: Vec<&Field> = match made {
            Some(made) => made.fields().iter().map(AsRef::as_ref).collect(),
            None => self.node.features.iter().map(|feature| self.input.field(*feature)).collect(),
        };
        let features = features.into_iter().filter(|feature| Some(feature.name().as_str()) != split);
        Giveaways::new(features, &self.label_name, &self.label_type)
    }

    /// Rows held out by chance have others of the same time among those that are learnt.
    pub(super) fn warn_of_split(&self) {
        let is_random =
            |(option, value): &(String, String)| option == SPLIT_METHOD && RANDOM_SPLITS.contains(&value.as_str());
        let time = self.input.fields().iter().find(|field| is_time(field.data_type()));
        if let (true, Some(time)) = (self.node.options.iter().any(is_random), time) {
            warn!(
                model = self.name,
                column = time.name().as_str(),
                "rows are held out by chance although they have a time: data_split_method = 'seq' with data_split_col judges \
                 the model by the last of them, as it will be asked"
            );
        }
    }

    /// Says what a fit came to that it should not have.
    pub(super) fn warn_of(&self, report: &FitReport) {
        if !report.converged {
            warn!(
                model = self.name,
                iterations = report.iterations,
                "the model is used as it is after so many steps, which have not reached its tolerance; raise max_iterations"
            );
        }
        if report.is_no_better_than_a_guess() {
            warn!(
                model = self.name,
                measures = ?report.metrics,
                "the model does no better than a guess that looks at no feature: its features may say nothing of the label"
            );
        }
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}
