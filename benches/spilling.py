"""What it costs to keep state on disk.

usage: spilling.py TIDEMILL [KEYS] [ROWS]

Counts ROWS made-up rows by one of KEYS keys, with room for all groups, then with room for a tenth of what they took,
and with few keys, which is what a process takes without state. Prints rows a second, the greatest size of the process,
and what the groups took in memory and on disk.
"""
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SCRIPT = """
SET parallelism = 1;
SET state_memory = '{memory}';
CREATE SOURCE made (id BIGINT, word VARCHAR)
  WITH (connector = 'datagen', rows = {rows}, 'fields.id.max' = {keys}, 'fields.word.length' = 16);
CREATE SINK counts WITH (connector = 'blackhole') AS
  SELECT id, count(*) AS n, min(word) AS least, max(word) AS greatest FROM made GROUP BY id;
"""

PORT = 18082


def metric(name):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"tidemill_operator_{name}" + "{"))


def run(tidemill, script, storage=False):
    """Seconds, the peak in MiB, and the most that operators took in memory and on disk, in MiB."""
    most = {"state_bytes": 0.0, "spilled_bytes": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/job.sql", "w") as file:
            file.write(script)
        interval = "5s" if storage else "0"
        command = [tidemill, "run", "job.sql", "--set", f"checkpoint_interval={interval}", "--http", f"127.0.0.1:{PORT}"]
        if storage:
            command += ["--data-dir", "meta"]
        started = time.time()
        job = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        done = threading.Event()

        def watch():
            while not done.wait(0.2):
                for name in most:
                    most[name] = max(most[name], metric(name))

        watching = threading.Thread(target=watch)
        watching.start()
        errors = job.stderr.read()
        _, status, usage = os.wait4(job.pid, 0)
        done.set()
        watching.join()
        if status != 0:
            sys.exit(f"{' '.join(command)} failed: {errors}")
    return time.time() - started, usage.ru_maxrss / 1024, most["state_bytes"] / 2**20, most["spilled_bytes"] / 2**20


def show(name, rows, figures):
    seconds, peak, held, spilled = figures
    print(f"{name:34} {rows / seconds / 1e6:6.2f} M rows/s {peak:7.0f} MiB at most, state {held:6.0f} MiB in memory, "
          f"{spilled:6.0f} MiB on disk", flush=True)


def main(tidemill, keys=4_000_000, rows=20_000_000):
    tidemill, keys, rows = os.path.abspath(tidemill), int(keys), int(rows)

    def count(keys, memory, storage=False):
        return run(tidemill, SCRIPT.format(keys=keys, rows=rows, memory=memory), storage)

    show("without state", rows, count(10, "0"))
    everything = count(keys, "0")
    show("all groups in memory", rows, everything)
    tenth = f"{max(int(everything[2] / 10), 1)}MB"
    show(f"state_memory = {tenth}", rows, count(keys, tenth))
    show("the same, a checkpoint each 5 s", rows, count(keys, tenth, storage=True))
    show("all in memory, checkpoints", rows, count(keys, "0", storage=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
