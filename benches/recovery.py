"""How long a job is away when one of its workers is killed.

usage: recovery.py TIDEMILL KEYS [KILLS]

Runs a job on two worker processes that counts rows by key and writes rows to files, with a checkpoint each second,
until it holds about KEYS keys; then kills a worker with SIGKILL, several times. Prints for each kill the seconds until
the next file appears, that is, until a checkpoint of the restored job has been sealed and committed, and in the end
the duration and size of the newest checkpoint.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SCRIPT = """
SET checkpoint_interval = '1s';
SET restart_delay = '100ms';
CREATE SOURCE made (id BIGINT, word VARCHAR)
  WITH (connector = 'datagen', rows_per_second = {rate}, {fields});
CREATE SINK counts WITH (connector = 'blackhole') AS SELECT id, count(*) AS n, max(word) AS word FROM made GROUP BY id;
CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'parquet') AS SELECT id FROM made WHERE id % 1000 = 0;
"""


def metric(name):
    with urllib.request.urlopen("http://127.0.0.1:18081/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def files(folder):
    try:
        return {name for name in os.listdir(f"{folder}/kept") if not name.endswith("inprogress")}
    except FileNotFoundError:
        return set()


def wait_for(condition):
    started = time.time()
    while not condition():
        time.sleep(0.01)
    return time.time() - started


def main(tidemill, keys, kills=3):
    keys, kills = int(keys), int(kills)
    fields = f"'fields.id.max' = {keys}"
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/job.sql", "w") as file:
            file.write(SCRIPT.format(rate=200_000, fields=fields))
        command = [tidemill, "run", "job.sql", "--workers", "2", "--data-dir", "meta", "--http", "127.0.0.1:18081"]
        job = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: len(files(folder)) > 3)
            time.sleep(keys * 2 / 200_000)
            for _ in range(kills):
                with open(f"/proc/{job.pid}/task/{job.pid}/children") as children:
                    worker = int(children.read().split()[0])
                before = files(folder)
                os.kill(worker, signal.SIGKILL)
                # What was sealed before is committed first.
                away = wait_for(lambda: len(files(folder) - before) > 1)
                print(f"killed a worker: {away:.1f} s until two more files", flush=True)
                time.sleep(5)
            for name in ("checkpoint_duration_seconds", "checkpoint_bytes", "operator_state_bytes", "job_restarts_total"):
                print(name, metric(f"tidemill_{name}"))
        finally:
            job.send_signal(signal.SIGINT)
            job.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
