"""What a checkpoint costs when a share of the keys has changed since the one before.

usage: checkpoints.py TIDEMILL KEYS [SHARE_PERCENT ...]

Runs a job on two worker processes that keeps sums by key, with a checkpoint each two seconds. First it reads a file with
each of KEYS keys (about 100 bytes of state each, so 10 million are 1 GB); then, for each share, files with so many
percent of them, spread evenly over all, at a pace at which about one checkpoint falls on each. Prints for each
checkpoint its seconds, the megabytes that it wrote, and the megabytes that restoring it would read; in the end how long
the job takes to come back when a worker is killed.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SCRIPT = """
SET checkpoint_interval = '2s';
SET restart_delay = '100ms';
SET parallelism = 2;
CREATE SOURCE rows (k BIGINT, v BIGINT)
  WITH (connector = 'files', path = 'rows/*.csv', format = 'csv', watch = '100ms');
CREATE SINK sums WITH (connector = 'blackhole') AS
  SELECT k, count(*) AS n, sum(v) AS total, sum(v * v) AS squares, max(v) AS most, min(v) AS least
  FROM rows GROUP BY k;
"""

METRICS = "http://127.0.0.1:18082/metrics"

# Rounds of changes for each share.
ROUNDS = 3


def metrics():
    with urllib.request.urlopen(METRICS, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    sums = {}
    for line in lines:
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            sums[name.split("{")[0]] = sums.get(name.split("{")[0], 0) + float(value)
    return sums


def sealed():
    return metrics().get("tidemill_checkpoints_sealed_total", 0)


def write(folder, name, keys, step):
    """A file with each so many-th key; it comes at once."""
    with open(f"{folder}/{name}.part", "w") as file:
        file.write("k,v\n")
        for first in range(0, keys, 1_000_000):
            last = min(first + 1_000_000, keys)
            start = -(-first // step) * step
            file.writelines(f"{key},{key % 1000}\n" for key in range(start, last, step))
    os.rename(f"{folder}/{name}.part", f"{folder}/rows/{name}.csv")


def wait_for_checkpoints(what, count):
    """Tells of each of the next checkpoints."""
    seen = sealed()
    last = seen + count
    while seen < last:
        time.sleep(0.05)
        now = metrics()
        if now["tidemill_checkpoints_sealed_total"] > seen:
            seen = now["tidemill_checkpoints_sealed_total"]
            seconds = now["tidemill_checkpoint_duration_seconds"]
            megabytes = [now[f"tidemill_checkpoint_{which}"] / 1e6 for which in ("bytes", "total_bytes")]
            print(f"{what}: {seconds:.2f} s, {megabytes[0]:.1f} MB written, {megabytes[1]:.1f} MB to read", flush=True)


def rows_in():
    return metrics().get("tidemill_operator_rows_in_total", 0)


def wait_until_read(what):
    """Waits until no more rows come, telling of checkpoints."""
    before = -1
    while rows_in() != before:
        before = rows_in()
        wait_for_checkpoints(what, 1)


def main(tidemill, keys, *shares):
    keys, shares = int(keys), [float(share) for share in shares] or [1, 10, 100]
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/rows")
        with open(f"{folder}/job.sql", "w") as file:
            file.write(SCRIPT)
        write(folder, "all", keys, 1)
        command = [os.path.abspath(tidemill), "run", "job.sql", "--workers", "2", "--data-dir", "meta"]
        job = subprocess.Popen(
            [*command, "--http", "127.0.0.1:18082"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    if rows_in() > 0:
                        break
                except OSError:
                    pass
                time.sleep(0.1)
            wait_until_read("all keys come")
            print(f"state: {metrics()['tidemill_operator_state_bytes'] / 1e6:.0f} MB in memory", flush=True)
            wait_for_checkpoints("nothing changes", 1)
            for share in shares:
                for number in range(ROUNDS):
                    write(folder, f"changes-{share:g}-{number}", keys, max(1, round(100 / share)))
                    wait_until_read(f"{share:g}% change")
            with open(f"/proc/{job.pid}/task/{job.pid}/children") as children:
                worker = int(children.read().split()[0])
            restarts = metrics()["tidemill_job_restarts_total"]
            started = time.time()
            os.kill(worker, signal.SIGKILL)
            while metrics()["tidemill_job_restarts_total"] == restarts or not metrics()["tidemill_job_running"]:
                time.sleep(0.05)
            print(f"killed a worker: it runs again after {time.time() - started:.1f} s", flush=True)
        finally:
            job.send_signal(signal.SIGINT)
            job.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
