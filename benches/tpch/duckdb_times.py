"""DuckDB's times for TPC-H: python benches/tpch/duckdb_times.py FOLDER [SCALE] [ROUNDS] (pip install duckdb)."""

import pathlib
import sys
import time

import duckdb

folder, scale, rounds = (sys.argv[1:] + ["1", "3"][len(sys.argv) - 2 :])[:3]
queries = pathlib.Path(__file__).parents[2] / "tests" / "tpch"
database = duckdb.connect()
for table in ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]:
    database.execute(f"CREATE VIEW {table} AS SELECT * FROM '{folder}/{table}.parquet'")
total = 0.0
for path in sorted(queries.glob("q*.sql")):
    query = path.read_text()
    if path.stem == "q11":
        query = query.replace("0.01", f"{0.0001 / float(scale):.10f}")
    best = float("inf")
    for _ in range(int(rounds)):
        started = time.perf_counter()
        database.sql(query).to_arrow_table()
        best = min(best, time.perf_counter() - started)
    print(f"{path.stem:<6}{best * 1000:>12.1f}")
    total += best if path.stem != "q15" else 0.0
print(f"{'total':<6}{total * 1000:>12.1f}   without q15")
