"""An MLflow client finds models, versions and aliases, moves aliases and drops models.

The server's address, the passwords of root and of ann are the arguments. root has made `late`, two versions of logistic
regressions, `worse`, whose mean squared error is 25 where the mean's is 6.25, and `plain`, which has no label; ann may ask late.
"""

import os
import sys

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from refused import refused

ADDRESS, ROOT, ANN = sys.argv[1:]
BASE = f"{ADDRESS}/api/2.0/mlflow"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def log_in(user, password):
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = user, password
    return MlflowClient(tracking_uri=ADDRESS, registry_uri=ADDRESS)


def check_code(code, part, do):
    try:
        do()
    except MlflowException as error:
        assert error.error_code == code and part in str(error), (error.error_code, str(error))
        return
    raise AssertionError(f"no {code}")


def check_models(client):
    names = lambda found: [model.name for model in found]
    assert names(client.search_registered_models()) == ["late", "plain", "worse"]
    assert names(client.search_registered_models("name LIKE '%la%'")) == ["late", "plain"]
    assert names(client.search_registered_models("name = 'worse'")) == ["worse"]
    first = client.search_registered_models(max_results=2)
    assert names(first) == ["late", "plain"] and first.token, first.token
    last = client.search_registered_models(max_results=2, page_token=first.token)
    assert names(last) == ["worse"] and not last.token, last.token
    model = client.get_registered_model("late")
    assert model.description.startswith('CREATE MODEL "late"'), model.description
    assert [version.version for version in model.latest_versions] == ["2"] and model.aliases == {}, model
    check_code("RESOURCE_DOES_NOT_EXIST", "no model 'nobody'", lambda: client.get_registered_model("nobody"))
    check_code("INVALID_PARAMETER_VALUE", "run_id = …", lambda: client.search_registered_models("run_id = 'x'"))


def check_versions(client):
    found = client.search_model_versions("name = 'late'")
    assert [(version.name, version.version) for version in found] == [("late", "2"), ("late", "1")], found
    assert len(client.search_model_versions()) == 4
    version = client.get_model_version("late", "1")
    assert (version.status, version.current_stage, version.source) == ("READY", "None", "late$1"), version
    assert version.tags["rows_learnt"] == "600" and 0 < float(version.tags["log_loss"]) < 0.69, version.tags
    assert float(version.tags["log_loss"]) < float(version.tags["baseline_log_loss"]), version.tags
    assert [version.version for version in client.get_latest_versions("late")] == ["2"]
    assert client.get_latest_versions("late", stages=["Production"]) == []
    check_code("RESOURCE_DOES_NOT_EXIST", "no version 7", lambda: client.get_model_version("late", "7"))


def check_aliases(client):
    client.set_registered_model_alias("late", "champion", "1")
    client.set_registered_model_alias("late", "the-next", "2")
    assert client.get_model_version_by_alias("late", "champion").version == "1"
    assert client.get_registered_model("late").aliases == {"champion": "1", "the-next": "2"}
    client.set_registered_model_alias("late", "champion", "2")
    assert sorted(client.get_model_version_by_alias("late", "champion").aliases) == ["champion", "the-next"]
    client.delete_registered_model_alias("late", "the-next")
    assert client.get_registered_model("late").aliases == {"champion": "2"}
    check_code("RESOURCE_DOES_NOT_EXIST", "alias 'x'", lambda: client.get_model_version_by_alias("late", "x"))
    check_code("RESOURCE_DOES_NOT_EXIST", "version 9", lambda: client.set_registered_model_alias("late", "a", "9"))


def check_worse(client):
    """What is no better than a guess is not promoted, unless SQL says that it is to be. What was not compared is."""
    for part in ["its mse is 25.000000", "the guess's 6.250000", "FORCE"]:
        check_code("INVALID_PARAMETER_VALUE", part, lambda: client.set_registered_model_alias("worse", "champion", "1"))
    assert client.get_registered_model("worse").aliases == {}
    client.set_registered_model_alias("plain", "champion", "1")


def check_what_is_not_there(client):
    check_code("RESOURCE_ALREADY_EXISTS", "'late' already", lambda: client.create_registered_model("late"))
    check_code("NOT_IMPLEMENTED", 'CREATE MODEL "new"', lambda: client.create_registered_model("new"))
    check_code("NOT_IMPLEMENTED", "EXPORT MODEL", lambda: client.get_model_version_download_uri("late", "1"))
    check_code("NOT_IMPLEMENTED", "keeps its name", lambda: client.rename_registered_model("late", "early"))
    check_code("NOT_IMPLEMENTED", "the statement", lambda: client.update_registered_model("late", "a model"))
    check_code("ENDPOINT_NOT_FOUND", "experiments/search", lambda: client.search_experiments())


def check_wire():
    """What the client would not send."""
    root = ("root", ROOT)
    json = {"Content-Type": "application/json"}
    for method, path, given, status, code in [
        ("GET", "registered-models/get", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "nothing", {}, 404, "ENDPOINT_NOT_FOUND"),
        ("POST", "registered-models/get", {"json": {"name": "late"}}, 404, "ENDPOINT_NOT_FOUND"),
        ("POST", "registered-models/alias", {"data": "{", "headers": json}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "registered-models/alias", {"data": '{"name": "late"}'}, 400, "BAD_REQUEST"),
        ("POST", "registered-models/alias", {"json": {"name": "late", "alias": "a", "version": {}}}, 400,
         "INVALID_PARAMETER_VALUE"),
        ("GET", "registered-models/search?max_results=0", {}, 400, "INVALID_PARAMETER_VALUE"),
    ]:
        answer = requests.request(method, f"{BASE}/{path}", auth=root, **given)
        assert answer.status_code == status and answer.json()["error_code"] == code, (path, answer.text)
        assert answer.json()["message"], path
    nobody = requests.get(f"{BASE}/registered-models/search")
    assert nobody.status_code == 401 and nobody.json()["error_code"] == "UNAUTHENTICATED", nobody.text
    assert "WWW-Authenticate" in nobody.headers
    latest = requests.post(f"{BASE}/registered-models/get-latest-versions", auth=root, json={"name": "late"})
    assert [version["version"] for version in latest.json()["model_versions"]] == ["2"], latest.text


def check_ann(client):
    """Somebody sees what they may, and changes what is theirs."""
    assert [model.name for model in client.search_registered_models()] == ["late"]
    assert not client.get_registered_model("late").description
    check_code("PERMISSION_DENIED", "late", lambda: client.set_registered_model_alias("late", "mine", "1"))
    check_code("PERMISSION_DENIED", "late", lambda: client.delete_registered_model("late"))
    check_code("RESOURCE_DOES_NOT_EXIST", "worse", lambda: client.delete_registered_model("worse"))


client = log_in("root", ROOT)
check_models(client)
check_versions(client)
check_aliases(client)
check_worse(client)
check_what_is_not_there(client)
check_wire()
check_ann(log_in("ann", ANN))
client = log_in("root", ROOT)
client.delete_registered_model("late")
assert [model.name for model in client.search_registered_models()] == ["plain", "worse"]
refused(MlflowException, "no model 'late'", lambda: client.get_registered_model("late"))
