//! A scalar, an aggregate and a table function written in Rust, called from SQL.
//!
//! `cargo run --example udf` prints, for each channel of a small generated stream of bids, the greatest
//! price in euros and the spread between the greatest and the least; then which words the addresses of the
//! bids are made of. With arguments it is the `tidemill`
//! command with these functions in it: `cargo run --example udf -- run script.sql --workers 2`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, ListBuilder, StringBuilder};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Accumulator, ColumnarValue, Volatility, create_udaf, create_udf};
use tidemill::cluster::Workers;
use tidemill::output::Format;
use tidemill::script::{self, Script};
use tidemill_plans::settings::Settings;

const SQL: &str = "
CREATE SOURCE bids WITH (connector = 'nexmark', table = 'bid', events = 10000);
SELECT channel, max(euros(CAST(price AS DOUBLE))) AS dearest, spread(CAST(price AS DOUBLE)) AS spread
FROM bids WHERE channel IN ('Apple', 'Google', 'Facebook', 'Baidu') GROUP BY channel ORDER BY channel;
SELECT word, count(*) AS bids FROM bids, LATERAL words(url) AS w(word)
GROUP BY word ORDER BY bids DESC, word LIMIT 5;
";

/// Cents to euros.
fn euros(arguments: &[ColumnarValue]) -> DataFusionResult<ColumnarValue> {
    let cents = ColumnarValue::values_to_arrays(arguments)?;
    let euros: Float64Array = cents[0].as_primitive::<Float64Type>().unary(|cents| cents / 100.0);
    Ok(ColumnarValue::Array(Arc::new(euros)))
}

/// The words of each text, as a list of its own: a row each in FROM.
fn words(arguments: &[ColumnarValue]) -> DataFusionResult<ColumnarValue> {
    let texts = ColumnarValue::values_to_arrays(arguments)?;
    let mut words = ListBuilder::new(StringBuilder::new());
    for text in texts[0].as_string::<i32>() {
        let split = |text| str::split(text, |letter: char| !letter.is_alphabetic());
        words.append_option(text.map(|text| split(text).filter(|word| !word.is_empty()).map(Some)));
    }
    Ok(ColumnarValue::Array(Arc::new(words.finish())))
}

/// The distance from the least to the greatest value.
#[derive(Debug, Default)]
struct Spread {
    least: Option<f64>,
    greatest: Option<f64>,
}

impl Spread {
    fn include(&mut self, least: Option<f64>, greatest: Option<f64>) {
        self.least = least.into_iter().chain(self.least).reduce(f64::min);
        self.greatest = greatest.into_iter().chain(self.greatest).reduce(f64::max);
    }
}

impl Accumulator for Spread {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        let values = values[0].as_primitive::<Float64Type>();
        self.include(min(values), max(values));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let (least, greatest) = (states[0].as_primitive::<Float64Type>(), states[1].as_primitive::<Float64Type>());
        self.include(min(least), max(greatest));
        Ok(())
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Float64(self.least), ScalarValue::Float64(self.greatest)])
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        Ok(ScalarValue::Float64(self.least.zip(self.greatest).map(|(least, greatest)| greatest - least)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

fn register() -> tidemill_plans::Result<()> {
    let double = DataType::Float64;
    let scalar = create_udf("euros", vec![double.clone()], double.clone(), Volatility::Immutable, Arc::new(euros));
    tidemill::functions::register_scalar(scalar)?;
    let (text, texts) = (DataType::Utf8, DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))));
    let table = create_udf("words", vec![text], texts, Volatility::Immutable, Arc::new(words));
    tidemill::functions::register_table(table)?;
    tidemill::functions::register_aggregate(create_udaf(
        "spread",
        vec![double.clone()],
        Arc::new(double.clone()),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Spread::default()))),
        Arc::new(vec![double.clone(), double]),
    ))
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    register()?;
    if std::env::args().len() > 1 {
        return Ok(tidemill::cli::main());
    }
    let script = Script {
        path: PathBuf::from("udf.sql"),
        text: SQL.to_owned(),
        settings: Settings::default(),
        workers: Workers::Embedded,
        data_dir: None,
        format: Format::Table,
        http: None,
    };
    actix::System::new().block_on(script::run(script))?;
    Ok(ExitCode::SUCCESS)
}
