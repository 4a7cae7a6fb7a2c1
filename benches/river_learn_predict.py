"""River beside benches/learn_predict.sql: the same rows, the same features, every row predicted and then learnt.

    python -m venv river && river/bin/pip install river pandas pyarrow
    river/bin/python benches/river_learn_predict.py [rows, 50000 unless told]

Prints the prequential AUC and the rows a second. The weather is joined before the clock starts.
"""
import sys
import time

import pandas as pd
from river import compose, linear_model, metrics, optim, preprocessing

DATA = "examples/flights/data"
CATEGORIES = ["carrier", "origin", "dest", "hour", "month", "weekday"]
NUMBERS = ["distance", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]


def rows(limit):
    flights = pd.read_parquet(f"{DATA}/flights.parquet").dropna(subset=["arr_delay"])
    weather = pd.read_parquet(f"{DATA}/weather.parquet").drop_duplicates(["origin", "time_hour"])
    flights = flights.sort_values("sched_dep_ts").head(limit).copy()
    flights["weekday"] = flights.sched_dep_ts.dt.day_of_week
    weather = weather[["origin", "time_hour"] + NUMBERS[1:]].sort_values("time_hour")
    # The newest weather at or before the scheduled departure, as the temporal join has it.
    joined = pd.merge_asof(
        flights.drop(columns=["time_hour"], errors="ignore").astype({"sched_dep_ts": "datetime64[us]"}),
        weather.astype({"time_hour": "datetime64[us]"}),
        left_on="sched_dep_ts", right_on="time_hour", by="origin",
    )
    for row in joined[CATEGORIES + NUMBERS + ["arr_delay"]].to_dict("records"):
        label = row.pop("arr_delay") > 15
        features = {name: str(row[name]) for name in CATEGORIES}
        features |= {name: 0.0 if row[name] != row[name] else float(row[name]) for name in NUMBERS}
        yield features, label


def main():
    stream = list(rows(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000))
    categories = compose.SelectType(str) | preprocessing.OneHotEncoder()
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    model = (categories + numbers) | linear_model.LogisticRegression(optim.SGD(0.05))
    auc = metrics.ROCAUC()
    start = time.perf_counter()
    for features, label in stream:
        auc.update(label, model.predict_proba_one(features)[True])
        model.learn_one(features, label)
    seconds = time.perf_counter() - start
    print(f"river: {len(stream)} rows, auc {auc.get():.4f}, {len(stream) / seconds:,.0f} rows/s")


main()
