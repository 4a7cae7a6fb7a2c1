//! Predictions for rows that clients send, while the model learns and after: DoExchange, with arrow-flight and pyarrow.

use std::fs;
use std::sync::Arc;
use std::thread;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow_flight::FlightDescriptor;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::Code;

use crate::flight_sql::{POLL, Served, TRIES, connect, python, serve};

#[test]
fn python_clients_get_predictions() {
    python("tests/python/predicting.py");
}

impl Served {
    /// The version and the probabilities that a model answers with.
    pub(crate) fn try_predict(&mut self, model: &str) -> Result<(i64, Vec<f64>), FlightError> {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 5.0, 9.0]));
        let rows = RecordBatch::try_from_iter_with_nullable([("distance", values, true)]).unwrap();
        let descriptor = FlightDescriptor::new_path(vec![String::from("predict"), model.to_owned()]);
        let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
        let data = encoder.build(stream::iter([Ok(rows)])).map(Result::unwrap);
        let client = self.client.inner_mut();
        let answers: Vec<RecordBatch> = self.runtime.block_on(async {
            let answers = client.do_exchange(data).await?.into_inner().map_err(FlightError::from);
            FlightRecordBatchStream::new_from_flight_data(answers).try_collect().await
        })?;
        let probabilities = answers[0]["predicted_late_prob"].as_primitive::<Float64Type>();
        Ok((answers[0]["model_version"].as_primitive::<Int64Type>().value(0), probabilities.values().to_vec()))
    }

    /// The same, as soon as there is a version.
    #[track_caller]
    pub(crate) fn predict(&mut self, model: &str) -> (i64, Vec<f64>) {
        for _ in 0..TRIES {
            match self.try_predict(model) {
                Ok(answer) => return answer,
                Err(error) => assert!(error.to_string().contains("published no version"), "{error}"),
            }
            thread::sleep(POLL);
        }
        panic!("'{model}' does not answer");
    }
}

#[test]
fn a_model_answers_after_a_restart_though_nobody_learns_it_any_more() {
    let mut served = Served::start();
    let row = |n: i64| format!("{},{},2024-01-01 00:00:{:02}\n", n % 10, n % 10 > 6, n / 10);
    let trips: String = (0..600).map(row).collect();
    fs::write(served.folder.path("trips.csv"), format!("distance,late,ts\n{trips}")).unwrap();
    served.ask(
        "CREATE SOURCE trips (distance DOUBLE, late BOOLEAN, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
         WITH (connector = 'files', path = 'trips.csv', format = 'csv');
         CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 second')
         AS SELECT ts, late, distance FROM trips",
    );
    served.wait_for_jobs(&[]);
    let before = served.predict("late");
    for signal in ["TERM", "KILL"] {
        served.server.signal(signal);
        match signal {
            "TERM" => drop(served.server.output(crate::command::PATIENCE).success()),
            _ => served.server.wait_killed(),
        }
        served.server = serve(&served.folder, served.port);
        served.client = connect(&served.runtime, served.port);
        assert_eq!(served.try_predict("late").unwrap(), before, "after {signal}");
    }
    assert_eq!(served.number("SELECT max(rows_learnt) + max(version) AS n FROM tidemill.models"), 600 + before.0);
    served.ask("DROP MODEL late");
    assert_eq!(served.number("SELECT count(*) AS n FROM tidemill.models"), 0, "it is gone");
    served.ask(
        "CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS SELECT ts, late, distance FROM trips
         WHERE distance < 0",
    );
    let error = served.try_predict("late").unwrap_err().to_string();
    assert!(error.contains("published no version"), "{error}");
    let asked = "SELECT * FROM ML.PREDICT(MODEL late, (SELECT 1.0 AS distance))";
    served.refused(asked, Code::InvalidArgument, "it has published no version yet");
    let known = "SELECT count(*) AS n FROM tidemill.models WHERE version IS NULL AND rows_learnt IS NULL";
    assert_eq!(served.number(known), 1, "it is another than the one that was dropped");
    served.end();
}
