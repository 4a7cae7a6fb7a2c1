"""What a join takes in memory when its state is taken up again, of which there is room for a tenth.

usage: restoring.py TIDEMILL [MEGABYTES] [MEMORY]

Joins made-up rows by key until MEGABYTES of them are on disk, kills the worker with SIGKILL, and prints the greatest
size of the process before, and of the one that takes the state up.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SCRIPT = """
SET parallelism = 1;
SET state_memory = '{memory}';
SET checkpoint_interval = '10s';
SET restart_delay = '100ms';
CREATE SOURCE one (id BIGINT, word VARCHAR) WITH ({options});
CREATE SOURCE other (id BIGINT, word VARCHAR) WITH ({options});
CREATE SINK pairs WITH (connector = 'blackhole') AS
  SELECT one.id, one.word, other.word AS partner FROM one JOIN other ON one.id = other.id;
"""

OPTIONS = "connector = 'datagen', rows_per_second = 40000, 'fields.id.max' = {keys}, 'fields.word.length' = 200"

PORT = 18083


def spilled():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("tidemill_operator_spilled_bytes{"))


def workers(job):
    with open(f"/proc/{job.pid}/task/{job.pid}/children") as children:
        return [int(child) for child in children.read().split()]


def peak(process):
    """The greatest size of a process, in MiB; nothing if it is gone."""
    try:
        with open(f"/proc/{process}/status") as status:
            sizes = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(sizes[0]) / 1024 if sizes else 0


def restored(job, killed, megabytes):
    """Seconds until the state is there again, and the greatest size of the worker until then."""
    started, most = time.time(), 0
    while True:
        time.sleep(0.2)
        most = max([most, *(peak(worker) for worker in workers(job) if worker != killed)])
        # What the worker had said that was killed is shown for a while.
        if time.time() - started > 8 and spilled() > megabytes * 2**20 / 2:
            return time.time() - started, most


def main(tidemill, megabytes=1000, memory="100MB"):
    tidemill, megabytes = os.path.abspath(tidemill), int(megabytes)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/job.sql", "w") as file:
            options = OPTIONS.format(keys=megabytes * 2**20 // 280)
            file.write(SCRIPT.format(memory=memory, options=options))
        command = [tidemill, "run", "job.sql", "--workers", "1", "--data-dir", "meta", "--http", f"127.0.0.1:{PORT}"]
        job = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while spilled() < megabytes * 2**20:
                time.sleep(1)
            worker = workers(job)[0]
            print(f"{spilled() / 2**20:.0f} MiB on disk: the worker had {peak(worker):.0f} MiB at most", flush=True)
            os.kill(worker, signal.SIGKILL)
            seconds, most = restored(job, worker, megabytes)
            print(f"taken up in {seconds:.0f} s by a worker that had {most:.0f} MiB at most", flush=True)
        finally:
            job.send_signal(signal.SIGINT)
            job.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
