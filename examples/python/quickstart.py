"""Tidemill from Python, by Flight SQL. What it needs:

    tidemill serve                                                     # in another terminal
    pip install adbc-driver-flightsql adbc-driver-manager pyarrow pandas
    python examples/python/quickstart.py
"""

import sys
import time

import adbc_driver_flightsql.dbapi as flightsql

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:50051"

# There are no transactions: each statement takes effect by itself.
with flightsql.connect(ADDRESS, autocommit=True) as connection, connection.cursor() as cursor:
    # A stream of auction bids, made up as they are read.
    cursor.execute("""
        CREATE SOURCE IF NOT EXISTS bids (WATERMARK FOR date_time AS date_time)
          WITH (connector = 'nexmark', table = 'bid', rows_per_second = 1000)""")

    # A view that is kept up to date while bids come.
    cursor.execute("""
        CREATE MATERIALIZED VIEW IF NOT EXISTS per_channel AS
          SELECT channel, count(*) AS bids, avg(price) AS price FROM bids GROUP BY channel""")

    # It is read as it is now, as a data frame, an Arrow table or rows.
    for _ in range(3):
        cursor.execute("SELECT * FROM per_channel ORDER BY bids DESC LIMIT 5")
        print(cursor.fetch_df(), end="\n\n")
        time.sleep(1)

    # Values are bound to parameters.
    cursor.execute("SELECT bids FROM per_channel WHERE channel = ?", ("Google",))
    print("bids by Google:", cursor.fetchone()[0])

    # A query without an end gives its rows as they come, until the cursor is closed.
    cursor.execute("SELECT auction, price, channel FROM bids WHERE price > 1000000")
    for auction, price, channel in cursor.fetchmany(3):
        print(f"somebody bids {price} on {auction} through {channel}")

with flightsql.connect(ADDRESS, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("DROP MATERIALIZED VIEW per_channel")
    cursor.execute("DROP SOURCE bids")
