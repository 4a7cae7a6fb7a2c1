"""Makes the plans beside this of queries.sql, with PyPI's datafusion: python make.py. Each is made as it was parsed, and
optimised."""

import pathlib

import datafusion
import pyarrow as pa
from datafusion.substrait import Producer, Serde

FOLDER = pathlib.Path(__file__).parent

TABLES = {
    "bids": [("auction", pa.int64()), ("bidder", pa.string()), ("price", pa.float64()), ("ts", pa.timestamp("us"))],
    "auctions": [("id", pa.int64()), ("seller", pa.string()), ("opened", pa.timestamp("us")), ("rating", pa.int32())],
    "plain": [("auction", pa.int64()), ("at_time", pa.timestamp("us")), ("Odd", pa.int32())],
}


def main():
    context = datafusion.SessionContext()
    for name, columns in TABLES.items():
        # Of one row: what is known to have none is left out of plans.
        row = {column: pa.array([None], type) for column, type in columns}
        context.from_arrow(pa.table(row), name=name)
    for part in (FOLDER / "queries.sql").read_text().split("-- ")[1:]:
        name, query = part.split("\n", 1)
        query = query.strip().rstrip(";")
        try:
            parsed = Producer.to_substrait_plan(context.sql(query).logical_plan(), context)
            (FOLDER / f"{name}.parsed").write_bytes(parsed.encode())
        except Exception as error:
            # References to the row around a subquery: it has no words for them before they are joins.
            assert "OuterReferenceColumn" in str(error), error
        (FOLDER / f"{name}.optimised").write_bytes(Serde.serialize_bytes(query, context))


main()
