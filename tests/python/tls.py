"""Clients with certificates: ADBC, Arrow Flight, and HTTP. Arguments: the server's URLs, who is trusted, our pair."""

import ssl
import sys
import urllib.request

import adbc_driver_flightsql.dbapi
import pyarrow.flight as flight
from adbc_driver_flightsql import DatabaseOptions

url, metrics, trusted, certificate, key = sys.argv[1:]


def text(path):
    with open(path) as file:
        return file.read()


options = {
    DatabaseOptions.TLS_ROOT_CERTS.value: text(trusted),
    DatabaseOptions.MTLS_CERT_CHAIN.value: text(certificate),
    DatabaseOptions.MTLS_PRIVATE_KEY.value: text(key),
}
with adbc_driver_flightsql.dbapi.connect(url, db_kwargs=options, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)]

client = flight.FlightClient(url, tls_root_certs=text(trusted), cert_chain=text(certificate), private_key=text(key))
assert any(action.type == "tidemill.execute" for action in client.list_actions()), list(client.list_actions())

context = ssl.create_default_context(cafile=trusted)
context.load_cert_chain(certificate, key)
answer = urllib.request.urlopen(metrics, context=context, timeout=20)
assert answer.status == 200, answer.status

try:
    urllib.request.urlopen(metrics, context=ssl.create_default_context(cafile=trusted), timeout=20)
except OSError:
    pass
else:
    raise AssertionError("a client without a certificate was let in")
