//! Predictions for rows that clients send, while the model learns: DoExchange, with arrow-flight and pyarrow.

use crate::flight_sql::python;

#[test]
fn python_clients_get_predictions() {
    python("tests/python/predicting.py");
}
