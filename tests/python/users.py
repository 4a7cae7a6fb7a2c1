"""How clients of Python log in. The server's address and the password of root are the arguments."""

import sys

import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import pyarrow.flight as flight

from refused import refused

ADDRESS, PASSWORD = sys.argv[1:]


def count(**options):
    with dbapi.connect(ADDRESS, db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS a")
            assert cursor.fetchall() == [(1,)]
            cursor.execute("SHOW ROLES")
            return len(cursor.fetchall())


def check_adbc():
    assert count(username="root", password=PASSWORD) == 1
    refused(adbc_driver_manager.Error, "not logged in", lambda: count(username="root", password="guess"))
    refused(adbc_driver_manager.Error, "not logged in", count)


def check_flight():
    client = flight.connect(ADDRESS)
    refused(flight.FlightUnauthenticatedError, "not logged in", lambda: list(client.list_actions()))
    header = client.authenticate_basic_token("root", PASSWORD)
    assert header[0] == b"authorization" and header[1].startswith(b"Bearer "), header
    options = flight.FlightCallOptions(headers=[header])
    actions = {action.type for action in client.list_actions(options)}
    assert "CloseSession" in actions, actions
    list(client.do_action(("CloseSession", b""), options))
    refused(flight.FlightUnauthenticatedError, "log in again", lambda: list(client.list_actions(options)))
    refused(flight.FlightUnauthenticatedError, "wrong", lambda: client.authenticate_basic_token("root", "guess"))
    client.close()


check_adbc()
check_flight()
