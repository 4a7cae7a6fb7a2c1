"""Runs Nexmark queries on Tidemill over CSV files, and says how fast.

usage: run.py TIDEMILL DATA_DIR PARALLELISM QUERY...    or: run.py --flink DATA_DIR PARALLELISM QUERY...
or:    run.py TIDEMILL generated:EVENTS PARALLELISM QUERY...
or:    run.py --checkpoint-interval=1s TIDEMILL ...

DATA_DIR holds person.csv, auction.csv and bid.csv without headers, and a file `events` with the number of
all events. Prints a line a query: its name, seconds from start to end, events a second, seconds of CPU, and
the peak resident memory in MiB. With --flink the same on Apache Flink, in whose Python environment
(pip install apache-flink) this script has to run then; each query in a process of its own. With generated:EVENTS
the rows come from Tidemill's nexmark source; the query `generator` writes all of them away. With a checkpoint
interval the job has checkpoints, in a folder that is removed afterwards.
"""
import os
import resource
import subprocess
import sys
import tempfile
import time

GENERATED = "generated:"
CHECKPOINTS = "--checkpoint-interval="

COLUMNS = {
    "person": "id BIGINT, name VARCHAR, email VARCHAR, city VARCHAR, state VARCHAR",
    "auction": "id BIGINT, item VARCHAR, initial_bid BIGINT, reserve BIGINT, expires TIMESTAMP(3), seller BIGINT, category BIGINT",
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR",
}

# The window functions' names stand in brackets, which each engine's dialect fills in.
HOP = "{HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)}"
QUERIES = {
    "q0": "SELECT auction, bidder, price, ts FROM bid",
    "q1": "SELECT auction, bidder, 0.908 * price AS price, ts FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
    "q3": """SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
             WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')""",
    "q4": """SELECT category, AVG(final) AS mean FROM (
               SELECT MAX(b.price) AS final, a.category FROM auction a JOIN bid b ON a.id = b.auction
               WHERE b.ts BETWEEN a.ts AND a.expires GROUP BY a.id, a.category) q GROUP BY category""",
    "q5": f"""SELECT bids.auction, bids.num FROM (
               SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
               FROM {HOP} GROUP BY auction, window_start, window_end) bids
             JOIN (
               SELECT max(num) AS maxn, starttime, endtime FROM (
                 SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
                 FROM {HOP} GROUP BY auction, window_start, window_end) c
               GROUP BY starttime, endtime) most
             ON bids.starttime = most.starttime AND bids.endtime = most.endtime AND bids.num >= most.maxn""",
    "q7": """SELECT b.auction, b.price, b.bidder, b.ts FROM bid b JOIN (
               SELECT MAX(price) AS maxprice, window_end AS ends
               FROM {TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)} GROUP BY window_start, window_end) m
             ON b.price = m.maxprice WHERE b.ts BETWEEN m.ends - INTERVAL '10' SECOND AND m.ends""",
    "q8": """SELECT p.id, p.name, p.starttime FROM (
               SELECT id, name, window_start AS starttime, window_end AS endtime
               FROM {TUMBLE(TABLE person, DESCRIPTOR(ts), INTERVAL '10' SECOND)} GROUP BY id, name, window_start, window_end) p
             JOIN (
               SELECT seller, window_start AS starttime, window_end AS endtime
               FROM {TUMBLE(TABLE auction, DESCRIPTOR(ts), INTERVAL '10' SECOND)} GROUP BY seller, window_start, window_end) a
             ON p.id = a.seller AND p.starttime = a.starttime AND p.endtime = a.endtime""",
    "q11": """SELECT bidder, COUNT(*) AS bids, window_start, window_end
              FROM {SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10' SECOND)}
              GROUP BY bidder, window_start, window_end""",
    "q12": """SELECT bidder, COUNT(*) AS bids, window_start
              FROM {TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)} GROUP BY bidder, window_start, window_end""",
    "q16": """SELECT channel, [DAY] AS d, count(*) AS total, count(DISTINCT bidder) AS bidders,
                count(DISTINCT auction) AS auctions
              FROM bid GROUP BY channel, [DAY]""",
    "q17": """SELECT auction, [DAY] AS d, count(*) AS total, min(price) AS mn, max(price) AS mx, avg(price) AS av,
                sum(price) AS sm
              FROM bid GROUP BY auction, [DAY]""",
    "q18": """SELECT auction, bidder, price, channel FROM (
                SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY ts DESC) AS rn FROM bid) t WHERE rn <= 1""",
    "q19": """SELECT * FROM (
                SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rn FROM bid) t WHERE rn <= 10""",
    "q20": """SELECT b.auction, b.bidder, b.price, a.category FROM bid b JOIN auction a ON b.auction = a.id
              WHERE a.category = 10""",
}


def source(name, data, events):
    """A source of Tidemill's dialect: a CSV file, or so many generated events."""
    watermark = "WATERMARK FOR ts AS ts - INTERVAL '4 seconds'"
    if events:
        return f"CREATE SOURCE {name} (ts AS (date_time), {watermark}) WITH (connector = 'nexmark', table = '{name}', events = {events});\n"
    columns = COLUMNS[name].replace("TIMESTAMP(3)", "TIMESTAMP")
    return (
        f"CREATE SOURCE {name} ({columns}, ts TIMESTAMP, {watermark}) "
        f"WITH (connector = 'files', path = '{data}/{name}.csv', format = 'csv', header = 'false');\n"
    )


def script(data, parallelism, query):
    """A script that runs a query of Tidemill's dialect into a blackhole."""
    generated = data.removeprefix(GENERATED) if data.startswith(GENERATED) else None
    sources = "".join(source(name, data, generated) for name in COLUMNS)
    if query == "generator":
        sinks = (f"CREATE SINK {name}s WITH (connector = 'blackhole') AS SELECT * FROM {name};" for name in COLUMNS)
        return f"SET parallelism = {parallelism};\n{sources}" + "\n".join(sinks)
    sql = QUERIES[query].replace("{", "").replace("}", "").replace("[DAY]", "to_char(ts, '%Y-%m-%d')")
    return (
        f"SET parallelism = {parallelism};\nSET update_interval = '2s';\n{sources}"
        f"CREATE SINK out WITH (connector = 'blackhole') AS {sql};\n"
    )


def measure(command):
    """Seconds, seconds of CPU and MiB of the largest process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    seconds, after = time.time() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, after.ru_maxrss // 1024


def flink(data, parallelism, query):
    """Runs a query on Flink, in this process."""
    from pyflink.table import EnvironmentSettings, Schema, TableDescriptor, TableEnvironment

    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in {
        "parallelism.default": parallelism,
        "pipeline.object-reuse": "true",
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "2s",
        "table.exec.mini-batch.size": "50000",
        "taskmanager.memory.managed.size": "1g",
    }.items():
        env.get_config().set(key, value)
    for name, columns in COLUMNS.items():
        env.execute_sql(
            f"CREATE TABLE {name} ({columns.replace('VARCHAR', 'STRING')}, ts TIMESTAMP(3), "
            f"WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) "
            f"WITH ('connector' = 'filesystem', 'path' = 'file://{data}/{name}.csv', 'format' = 'csv')"
        )
    sql = QUERIES[query].replace("{", "TABLE(").replace("}", ")").replace("[DAY]", "DATE_FORMAT(ts, 'yyyy-MM-dd')")
    table = env.sql_query(sql)
    schema = Schema.new_builder()
    names, types = table.get_schema().get_field_names(), table.get_schema().get_field_data_types()
    for name, data_type in zip(names, types):
        schema.column(name, data_type)
    env.create_temporary_table("out", TableDescriptor.for_connector("blackhole").schema(schema.build()).build())
    table.execute_insert("out").wait()


def main(arguments):
    if arguments[0] == "--flink-query":
        return flink(*arguments[1:])
    interval = None
    if arguments[0].startswith(CHECKPOINTS):
        interval = arguments.pop(0).removeprefix(CHECKPOINTS)
    engine, data, parallelism, *queries = arguments
    if data.startswith(GENERATED):
        events = int(data.removeprefix(GENERATED))
        queries = queries or ["generator", *QUERIES]
    else:
        data = os.path.abspath(data)
        with open(f"{data}/events") as file:
            events = int(file.read())
    for query in queries or QUERIES:
        # Peak memory is that of all children so far: a process of its own keeps queries apart.
        pid = os.fork()
        if pid == 0:
            with tempfile.NamedTemporaryFile("w", suffix=".sql") as file, tempfile.TemporaryDirectory() as folder:
                file.write(script(data, parallelism, query))
                file.flush()
                tidemill = [engine, "run", file.name]
                if interval:
                    tidemill += ["--data-dir", folder, "--set", f"checkpoint_interval={interval}"]
                on_flink = [sys.executable, __file__, "--flink-query", data, parallelism, query]
                try:
                    seconds, cpu, peak = measure(on_flink if engine == "--flink" else tidemill)
                except RuntimeError as error:
                    print(query, "failed:", error, flush=True)
                    os._exit(1)
            print(query, f"{seconds:.2f} s", f"{events / seconds / 1e6:.2f} M/s", f"{cpu:.2f} cpu",
                  f"{events / cpu / 1e6:.2f} M/cpu s", f"{peak} MiB", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
