//! TPC-H's 22 queries over its rows at scale factor 0.01, against DuckDB's answers (tests/tpch/expected.py): from CSV, which
//! our own reader reads, and from Parquet, which DataFusion does.

use std::fmt::{Display, Write};
use std::fs;

use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::answers::{compare, queries};
use crate::command::Folder;

const SCALE: f64 = 0.01;

/// The tables and their columns.
pub(crate) const TABLES: [(&str, &str); 8] = [
    ("nation", "n_nationkey BIGINT, n_name VARCHAR, n_regionkey BIGINT, n_comment VARCHAR"),
    ("region", "r_regionkey BIGINT, r_name VARCHAR, r_comment VARCHAR"),
    (
        "part",
        "p_partkey BIGINT, p_name VARCHAR, p_mfgr VARCHAR, p_brand VARCHAR, p_type VARCHAR, p_size INT, p_container \
         VARCHAR, p_retailprice DECIMAL(15, 2), p_comment VARCHAR",
    ),
    (
        "supplier",
        "s_suppkey BIGINT, s_name VARCHAR, s_address VARCHAR, s_nationkey BIGINT, s_phone VARCHAR, s_acctbal \
         DECIMAL(15, 2), s_comment VARCHAR",
    ),
    (
        "customer",
        "c_custkey BIGINT, c_name VARCHAR, c_address VARCHAR, c_nationkey BIGINT, c_phone VARCHAR, c_acctbal \
         DECIMAL(15, 2), c_mktsegment VARCHAR, c_comment VARCHAR",
    ),
    (
        "partsupp",
        "ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty INT, ps_supplycost DECIMAL(15, 2), ps_comment VARCHAR",
    ),
    (
        "orders",
        "o_orderkey BIGINT, o_custkey BIGINT, o_orderstatus VARCHAR, o_totalprice DECIMAL(15, 2), o_orderdate DATE, \
         o_orderpriority VARCHAR, o_clerk VARCHAR, o_shippriority INT, o_comment VARCHAR",
    ),
    (
        "lineitem",
        "l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT, l_quantity DECIMAL(15, 2), \
         l_extendedprice DECIMAL(15, 2), l_discount DECIMAL(15, 2), l_tax DECIMAL(15, 2), l_returnflag VARCHAR, \
         l_linestatus VARCHAR, l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct VARCHAR, \
         l_shipmode VARCHAR, l_comment VARCHAR",
    ),
];

#[test]
fn queries_answer_as_duckdb_does() {
    let folder = Folder::new();
    write_tables(&folder);
    let queries = queries("tests/tpch");
    assert_eq!(queries.len(), 22);
    write_parquet(&folder);
    for (format, sources) in [("csv", sources("csv", ".csv")), ("parquet", sources("parquet", ""))] {
        let selects: String =
            queries.iter().map(|query| format!("{};\n", fs::read_to_string(query).unwrap())).collect();
        let output = folder.run(&format!("{sources}{selects}"), &["--format", "csv", "--set", "execution=batch"]);
        compare(format, output.success(), &queries);
    }
}

/// The same tables as Parquet.
pub(crate) fn write_parquet(folder: &Folder) {
    let sinks = TABLES.map(|(table, _)| {
        format!("CREATE SINK {table}_p WITH (connector = 'files', path = 'p/{table}', format = 'parquet') AS SELECT * FROM {table};\n")
    });
    folder.run(&format!("{}{}", sources("csv", ".csv"), sinks.concat()), &[]).success();
}

/// The tables over files of a format.
pub(crate) fn sources(format: &str, end: &str) -> String {
    let path = |table: &str| if end.is_empty() { format!("p/{table}") } else { format!("{table}{end}") };
    let source = |(table, columns): &(&str, &str)| {
        let path = path(table);
        format!("CREATE TABLE {table} ({columns}) WITH (connector = 'files', path = '{path}', format = '{format}');\n")
    };
    TABLES.iter().map(source).collect()
}

/// The tables as CSV.
pub(crate) fn write_tables(folder: &Folder) {
    let write = |name: &str, text: String| folder.write(&format!("{name}.csv"), text);
    write("nation", csv(NationCsv::header(), NationGenerator::default().iter().map(NationCsv::new)));
    write("region", csv(RegionCsv::header(), RegionGenerator::default().iter().map(RegionCsv::new)));
    write("part", csv(PartCsv::header(), PartGenerator::new(SCALE, 1, 1).iter().map(PartCsv::new)));
    write("supplier", csv(SupplierCsv::header(), SupplierGenerator::new(SCALE, 1, 1).iter().map(SupplierCsv::new)));
    write("customer", csv(CustomerCsv::header(), CustomerGenerator::new(SCALE, 1, 1).iter().map(CustomerCsv::new)));
    write("partsupp", csv(PartSuppCsv::header(), PartSuppGenerator::new(SCALE, 1, 1).iter().map(PartSuppCsv::new)));
    write("orders", csv(OrderCsv::header(), OrderGenerator::new(SCALE, 1, 1).iter().map(OrderCsv::new)));
    write("lineitem", csv(LineItemCsv::header(), LineItemGenerator::new(SCALE, 1, 1).iter().map(LineItemCsv::new)));
}

fn csv(header: &str, rows: impl Iterator<Item = impl Display>) -> String {
    rows.fold(format!("{header}\n"), |mut text, row| {
        writeln!(text, "{row}").unwrap();
        text
    })
}
