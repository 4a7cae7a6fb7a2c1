"""Writes expected/qNN.csv: DuckDB's answers to the queries here, over TPC-H at scale factor 0.01.

    pip install duckdb tpchgen-cli
    tpchgen-cli parquet -s 0.01 --output-dir /tmp/tpch
    python tests/tpch/expected.py /tmp/tpch

The queries are those of the specification with its parameters for validation; Q11's fraction is that of the scale factor.
Answers of the versions 2.0.1 and 4.0.0.
"""

import csv
import pathlib
import sys

import duckdb

here = pathlib.Path(__file__).parent
database = duckdb.connect()
for table in ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]:
    database.execute(f"CREATE VIEW {table} AS SELECT * FROM '{sys.argv[1]}/{table}.parquet'")
for query in sorted(here.glob("q*.sql")):
    answer = database.execute(query.read_text())
    with open(here / "expected" / f"{query.stem}.csv", "w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(column[0] for column in answer.description)
        rows.writerows(answer.fetchall())
