"""ONNX Runtime says of rows what ML.PREDICT has said of them: NAME.onnx and NAME.parquet for each name that is given."""

import json
import sys

import numpy as np
import onnxruntime
import pyarrow.parquet as parquet

LABEL = "predicted_late"
PROBABILITIES = f"{LABEL}_probs"


def as_input(column, kind):
    """NULL is NaN, or the empty text."""
    if kind == "tensor(double)":
        return np.array([[np.nan if value is None else float(value)] for value in column])
    text = {None: "", True: "true", False: "false"}
    return np.array([[text.get(value, value)] for value in column], dtype=object)


def check(name):
    rows = parquet.read_table(f"{name}.parquet").to_pydict()
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    inputs = {of.name: as_input(rows[of.name], of.type) for of in session.get_inputs()}
    said = dict(zip([of.name for of in session.get_outputs()], session.run(None, inputs)))
    expected = rows[LABEL]
    if PROBABILITIES not in said:
        np.testing.assert_allclose(said[LABEL][:, 0], np.array(expected, float), rtol=1e-5, atol=1e-5, err_msg=name)
        return
    assert said[LABEL][:, 0].tolist() == expected, name
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    of_rows = [{str(of["label"]).lower(): of["prob"] for of in row} for row in rows[PROBABILITIES]]
    expected = [[row[name.lower()] for name in classes] for row in of_rows]
    np.testing.assert_allclose(said[PROBABILITIES], np.array(expected), rtol=1e-5, atol=1e-6, err_msg=name)


for name in sys.argv[1:]:
    check(name)
