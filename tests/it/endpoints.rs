//! Results that workers hand out, each its part: with pyarrow.flight and ADBC.

use crate::cluster::Cluster;
use crate::command::PATIENCE;
use crate::flight_sql::run_python;

#[test]
fn python_clients_fetch_the_parts_of_a_result_where_they_are() {
    let mut cluster = Cluster::open(10, &[]);
    cluster.add_worker();
    cluster.add_worker();
    let address = format!("grpc://127.0.0.1:{}", cluster.port());
    run_python(&cluster.folder, "tests/python/endpoints.py", &[&address]);
    cluster.coordinator.signal("TERM");
    cluster.coordinator.output(PATIENCE).success();
}
