"""Rows in, predictions out: pyarrow.flight's DoExchange, while the model learns. The server's address is the argument."""

import datetime
import sys
import time

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow
import pyarrow.flight as flight

from refused import refused

ADDRESS = sys.argv[1]

START = datetime.datetime(2024, 1, 1)


def trips(first, count):
    """Trips that are late if they are long."""
    numbers = range(first, first + count)
    return pyarrow.table({
        "distance": [float(n % 10) for n in numbers],
        "zone": ["north" if n % 3 else "south" for n in numbers],
        "late": [n % 10 > 6 for n in numbers],
        "ts": pyarrow.array([START + datetime.timedelta(milliseconds=n) for n in numbers], pyarrow.timestamp("us")),
    })


def exchange(client, model, columns):
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("predict", model))
    writer.begin(columns)
    return writer, reader


def ask(writer, reader, rows):
    writer.write_batch(rows)
    return reader.read_chunk().data.to_pydict()


def version_of(client, columns):
    """The version that answers, as soon as there is one."""
    for _ in range(600):
        try:
            writer, reader = exchange(client, "late", columns)
            answer = ask(writer, reader, pyarrow.record_batch([[9.0], ["north"]], schema=columns))
            writer.close()
            return answer["model_version"][0]
        except pyarrow.ArrowException as error:
            assert "published no version" in str(error), error
            time.sleep(0.05)
    raise AssertionError("the model learns nothing")


def main():
    client = flight.connect(ADDRESS)
    columns = pyarrow.schema([("distance", pyarrow.float64()), ("zone", pyarrow.string())])
    with dbapi.connect(ADDRESS, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SOURCE trips (distance DOUBLE, zone VARCHAR, late BOOLEAN, ts TIMESTAMP NOT NULL, "
                       "WATERMARK FOR ts AS ts) WITH (connector = 'push')")
        cursor.execute("CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', "
                       "publish_every = '1 second') AS SELECT ts, late, distance, zone FROM trips")
        refused(pyarrow.ArrowException, "published no version", lambda: exchange(client, "late", columns)[1].read_chunk())
        cursor.adbc_ingest("trips", trips(0, 20_000), mode="append")
        first = version_of(client, columns)

        writer, reader = exchange(client, "late", columns)
        for rows in (1, 8, 64, 3000, 1):
            batch = pyarrow.record_batch([[float(n % 10) for n in range(rows)], ["south"] * rows], schema=columns)
            answer = ask(writer, reader, batch)
            assert list(answer) == ["distance", "zone", "predicted_late", "predicted_late_prob", "model_version",
                                    "model_event_time"], answer
            assert answer["distance"] == batch.to_pydict()["distance"]
            assert len(answer["predicted_late_prob"]) == rows
            assert all((p > 0.5) == late for p, late in zip(answer["predicted_late_prob"], answer["predicted_late"]))
            assert answer["predicted_late"][0] is False
            assert rows < 10 or answer["predicted_late"][9] is True, answer["predicted_late_prob"][:10]
        # The same connection has what is learnt meanwhile.
        cursor.adbc_ingest("trips", trips(20_000, 20_000), mode="append")
        one = pyarrow.record_batch([[9.0], ["north"]], schema=columns)
        for _ in range(600):
            newest = ask(writer, reader, one)["model_version"][0]
            if newest > first:
                break
            time.sleep(0.05)
        assert newest > first, (first, newest)
        writer.done_writing()
        writer.close()

        refused(pyarrow.ArrowException, "send one row at least", lambda: ask(*exchange(client, "late", columns), one.slice(0, 0)))
        other = pyarrow.schema([("distance", pyarrow.float64())])
        refused(pyarrow.ArrowException, "zone", lambda: ask(*exchange(client, "late", other), pyarrow.record_batch([[9.0]], schema=other)))
        refused(pyarrow.ArrowException, "nothing", lambda: ask(*exchange(client, "nothing", columns), one))
        writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("dance", "late"))
        writer.begin(columns)
        refused(pyarrow.ArrowException, '["predict", model]', lambda: ask(writer, reader, one))
        cursor.execute("DROP MODEL late")
        refused(pyarrow.ArrowException, "late", lambda: ask(*exchange(client, "late", columns), one))
    print("all is predicted")


main()
