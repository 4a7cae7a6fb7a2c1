"""Writes hits.parquet, a table of the shape of ClickBench's, and expected/qNN.csv, DuckDB's answers to the queries here.

    pip install duckdb pyarrow
    python tests/clickbench/expected.py

The queries ask what ClickBench's 43 ask, in the same order, with an ORDER BY that leaves nothing to chance; the rows are
made up: few values are frequent, many are rare or empty. Answers of the version 2.0.1.
"""

import csv
import datetime
import pathlib
import random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 3_000
HOSTS = ["google.com", "www.google.de", "example.org", "news.example.org", "shop.example.com", "www.maps.net"]
WORDS = ["weather", "cheap flights", "Google maps", "tide tables", "mill", "recipes", "how to sail", "ship", "grain"]
PHONES = ["", "", "", "", "iPad", "iPhone 2", "Galaxy S", "N95"]

here = pathlib.Path(__file__).parent
chance = random.Random(43)


def skewed(n):
    """One of n numbers, of which the first are frequent."""
    return min(int(chance.paretovariate(0.9)) - 1, n - 1)


def url(optional):
    if chance.random() < optional:
        return ""
    scheme = chance.choice(["http", "https"])
    path = "/".join(str(skewed(30)) for _ in range(chance.randint(1, 3)))
    return f"{scheme}://{HOSTS[skewed(len(HOSTS))]}/{path}"


def row(number):
    time = datetime.datetime(2013, 7, 1) + datetime.timedelta(seconds=chance.randrange(31 * 86_400))
    page, referer = url(0.02), url(0.3)
    return {
        "watch_id": 9_000_000_000_000_000_000 + chance.randrange(1 << 40) * 1_000 + number,
        "title": "" if chance.random() < 0.1 else f"{chance.choice(WORDS)} – {HOSTS[skewed(len(HOSTS))]}",
        "event_time": time,
        "event_date": time.date(),
        "counter_id": 60 + skewed(40),
        "client_ip": chance.randrange(-(1 << 31), 1 << 31) if chance.random() < 0.5 else skewed(20) - 7,
        "region_id": skewed(60),
        "user_id": 1_000_000_000_000_000_000 + skewed(400) * 7_919_000_000_003,
        "url": page,
        "referer": referer,
        "is_refresh": int(chance.random() < 0.1),
        "dont_count_hits": int(chance.random() < 0.2),
        "is_link": int(chance.random() < 0.3),
        "is_download": int(chance.random() < 0.05),
        "resolution_width": chance.choice([0, 320, 1024, 1366, 1368, 1638, 1920]),
        "window_client_width": chance.choice([0, 300, 1000, 1340]),
        "window_client_height": chance.choice([0, 400, 700, 1050]),
        "mobile_phone": skewed(8),
        "mobile_phone_model": chance.choice(PHONES),
        "trafic_source_id": skewed(8) - 1,
        "search_engine_id": skewed(5),
        "search_phrase": "" if chance.random() < 0.6 else chance.choice(WORDS) + " " * skewed(3) + "a" * skewed(5),
        "adv_engine_id": 0 if chance.random() < 0.9 else 1 + skewed(20),
        "url_hash": len(page) * 2_868_770_270_353_813_622 % (1 << 62) if page else 0,
        "referer_hash": len(referer) * 3_594_120_000_172_545_465 % (1 << 62) if referer else 0,
    }


def shown(value):
    return value.isoformat() if isinstance(value, datetime.datetime) else value


small = ["is_refresh", "dont_count_hits", "is_link", "is_download", "resolution_width", "window_client_width",
         "window_client_height", "mobile_phone", "trafic_source_id", "search_engine_id", "adv_engine_id"]
types = {name: pa.int16() for name in small}
types |= {"event_time": pa.timestamp("us"), "counter_id": pa.int32(), "client_ip": pa.int32(), "region_id": pa.int32()}
rows = [row(number) for number in range(ROWS)]
schema = pa.schema([(name, types.get(name) or pa.scalar(value).type) for name, value in rows[0].items()])
pq.write_table(pa.Table.from_pylist(rows, schema), here / "hits.parquet", compression="zstd", row_group_size=1_000)

database = duckdb.connect()
database.execute(f"CREATE VIEW hits AS SELECT * FROM '{here}/hits.parquet'")
(here / "expected").mkdir(exist_ok=True)
for query in sorted(here.glob("q*.sql")):
    answer = database.execute(query.read_text())
    with open(here / "expected" / f"{query.stem}.csv", "w", newline="") as out:
        written = csv.writer(out, lineterminator="\n")
        written.writerow(column[0] for column in answer.description)
        written.writerows([shown(value) for value in row] for row in answer.fetchall())
