#!/usr/bin/env python3
"""Writes series, and what statsmodels fits to them and forecasts.

Run by hand, with statsmodels 0.15.0, which brings `nile`, `sunspots` and `co2`, as make.py. A line of series.txt is a
case, a name, and numbers; a value that is missing is NaN. Parameters are in the order of the lists below, forecasts are
of twelve points, and an interval is its lower ends and then its upper ones.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.datasets import co2, nile, sunspots
from statsmodels.tsa.arima.model import ARIMA
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

HERE = Path(__file__).parent
LINES = []
HORIZON = 12
TIGHT = {"disp": False, "maxiter": 2000, "pgtol": 1e-9, "factr": 10.0}

warnings.simplefilter("ignore")


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def noise(count, seed):
    """Standard normal numbers."""
    return np.random.RandomState(seed).standard_normal(count)


def arma(ar, ma, count, seed):
    """A process without a mean, after a hundred points that are thrown away."""
    errors = noise(count + 100, seed)
    values = np.zeros(count + 100)
    for t in range(count + 100):
        values[t] = errors[t]
        values[t] += sum(phi * values[t - 1 - lag] for lag, phi in enumerate(ar) if t > lag)
        values[t] += sum(theta * errors[t - 1 - lag] for lag, theta in enumerate(ma) if t > lag)
    return values[100:]


def seasonal(count, seed):
    """Months with a trend and a season that grows with it."""
    months = np.arange(count)
    season = 1 + 0.2 * np.sin(2 * np.pi * months / 12) + 0.1 * np.cos(2 * np.pi * months / 6)
    return (100 + 1.5 * months) * season * (1 + 0.03 * noise(count, seed))


def forecast(case, result, alphas=(0.1, 0.05)):
    predicted = result.get_forecast(HORIZON)
    put(case, "forecast", predicted.predicted_mean)
    put(case, "standard_error", predicted.se_mean)
    for alpha in alphas:
        put(case, f"interval_{100 - round(100 * alpha)}", np.asarray(predicted.conf_int(alpha=alpha)).T)


def arima(case, values, order, seasonal_order=(0, 0, 0, 0), trend="n"):
    """`parameters`: the mean or the drift, if any, and those of SARIMA in statsmodels' order, and the variance."""
    values = np.round(np.asarray(values, dtype=float), 6)
    model = ARIMA(values, order=order, seasonal_order=seasonal_order, trend=trend)
    result = model.fit(method_kwargs=dict(TIGHT))
    # From where a search stopped, another one may go on.
    for method in ["nm", "lbfgs", "bfgs", "nm", "lbfgs"]:
        loose = {"disp": False, "maxiter": 4000} | ({"xtol": 1e-10, "ftol": 1e-12} if method == "nm" else {"gtol": 1e-8})
        kwargs = TIGHT if method == "lbfgs" else loose
        again = model.fit(start_params=result.params, method_kwargs={**kwargs, "method": method})
        result = again if again.llf > result.llf else result
    put(case, "values", values)
    put(case, "log_likelihood", result.llf)
    put(case, "parameters", result.params)
    forecast(case, result)
    print(case, result.llf, result.params)


def smoothing(case, values, error="add", trend=None, damped=False, season=None, period=12):
    """`parameters`: alpha, and beta, gamma and phi as far as they are there."""
    values = pd.Series(np.round(np.asarray(values, dtype=float), 6))
    seasonal_periods = period if season else None
    model = ETSModel(
        values, error=error, trend=trend, damped_trend=damped, seasonal=season, seasonal_periods=seasonal_periods
    )
    result = model.fit(disp=False, maxiter=20000, pgtol=1e-9, factr=10.0)
    for _ in range(5):
        again = model.fit(start_params=result.params, disp=False, maxiter=20000, pgtol=1e-9, factr=10.0)
        result = again if again.llf > result.llf else result
    names = ["smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend"]
    put(case, "values", values)
    put(case, "log_likelihood", result.llf)
    put(case, "parameters", [result.params[model.param_names.index(n)] for n in names if n in model.param_names])
    put(case, "forecast", result.forecast(HORIZON))
    if error == "add":
        predicted = result.get_prediction(start=len(values), end=len(values) + HORIZON - 1, method="exact")
        put(case, "variance", predicted.forecast_variance)
        for alpha in [0.1, 0.05]:
            put(case, f"interval_{100 - round(100 * alpha)}", np.asarray(predicted.pred_int(alpha=alpha)).T)
    print(case, result.llf, dict(zip(model.param_names, np.round(result.params, 5))))


river = nile.load_pandas().data["volume"]
spots = sunspots.load_pandas().data["SUNACTIVITY"]
# Months from 1959 on, of which three are missing in 1964.
air = co2.load_pandas().data["co2"].resample("MS").mean()[10:226]
gaps = 5 + arma([0.7], [0.3], 200, 4)
gaps[3::7] = np.nan
gaps[50:60] = np.nan

arima("series_ar1", 5 + arma([0.7], [], 200, 1), (1, 0, 0), trend="c")
arima("series_arma11", 20 + arma([0.8], [-0.4], 300, 2), (1, 0, 1), trend="c")
arima("series_arima111", np.cumsum(arma([0.5], [0.4], 250, 3)), (1, 1, 1))
arima("series_drift", np.cumsum(0.5 + arma([0.4], [], 150, 6)), (1, 1, 0), trend="t")
arima("series_gaps", gaps, (1, 0, 1), trend="c")
arima("series_nile", river, (1, 0, 1), trend="c")
# statsmodels gives first levels a variance of 1e6, beside which that of errors must be small.
arima("series_nile_level", river / 100, (0, 1, 1))
arima("series_sunspots", spots, (2, 0, 0), trend="c")
arima("series_sunspots_long", spots, (9, 0, 0), trend="c")
arima("series_co2", air, (0, 1, 1), (0, 1, 1, 12))
arima("series_months", np.log(seasonal(144, 5)), (0, 1, 1), (1, 1, 0, 12))

smoothing("ets_nile", river)
smoothing("ets_trend", np.cumsum(0.5 + arma([0.4], [], 150, 6)), trend="add")
smoothing("ets_damped", np.cumsum(arma([0.7], [], 150, 7)), trend="add", damped=True)
smoothing("ets_season", air.interpolate(), trend="add", season="add")
smoothing("ets_season_damped", seasonal(144, 5), trend="add", damped=True, season="add")
smoothing("ets_season_only", 20 + arma([], [], 96, 8) + 5 * np.sin(np.arange(96) * np.pi / 2), season="add", period=4)
smoothing("ets_multiplicative", seasonal(144, 5), error="mul", trend="add", season="mul")
smoothing("ets_relative", river, error="mul")
smoothing("ets_relative_trend", seasonal(144, 9), error="mul", trend="add", season="add")
(HERE / "series.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
