"""What it costs to have rows wait for event time on disk.

usage: waiting.py TIDEMILL [ROWS] [WAITING ...]

Joins ROWS made-up rows with the newest version of their key, as of their time. Watermarks are so far behind that some
WAITING rows wait for them at any time; several numbers are a sweep. Each with room for all, and for a quarter of what
they took: the versions, of which there is one for each ten rows, fit in that. Prints what spilling.py does.
"""
import os
import sys

from spilling import run, show

SCRIPT = """
SET parallelism = 1;
SET state_memory = '{memory}';
CREATE SOURCE orders (item BIGINT, note VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '{lag} seconds')
  WITH (connector = 'datagen', rows = {rows}, 'fields.item.max' = 1000, 'fields.note.length' = 32, 'fields.ts.step' = '1ms',
        watermark_group = 'both', max_drift = '60s');
CREATE SOURCE prices (item BIGINT, price DOUBLE, valid_from TIMESTAMP,
                      WATERMARK FOR valid_from AS valid_from - INTERVAL '{lag} seconds')
  WITH (connector = 'datagen', rows = {versions}, 'fields.item.max' = 1000, 'fields.valid_from.step' = '10ms',
        watermark_group = 'both', max_drift = '60s');
CREATE SINK priced WITH (connector = 'blackhole') AS
  SELECT o.item, o.note, o.ts, p.price FROM orders o ASOF JOIN prices p
  MATCH_CONDITION (o.ts >= p.valid_from) ON o.item = p.item;
"""


def main(tidemill, rows=20_000_000, *waiting):
    tidemill, rows = os.path.abspath(tidemill), int(rows)

    def join(lag, memory, storage=False):
        return run(tidemill, SCRIPT.format(memory=memory, rows=rows, versions=rows // 10, lag=lag), storage)

    for count in waiting or (100_000, 1_000_000, 10_000_000):
        # There is a row a millisecond.
        lag = int(count) // 1_000
        everything = join(lag, "0")
        show(f"{count} wait, all in memory", rows, everything)
        quarter = f"{max(int(everything[2] / 4), 1)}MB"
        show(f"{count} wait, state_memory = {quarter}", rows, join(lag, quarter))
        show("the same, a checkpoint each 5 s", rows, join(lag, quarter, storage=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
