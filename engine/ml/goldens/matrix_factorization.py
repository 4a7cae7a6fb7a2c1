#!/usr/bin/env python3
"""Writes what alternating least squares finds in made-up ratings, by the formulas of the papers in numpy.

Run by hand, with numpy, as make.py. It begins with the random numbers of src/random.rs, so all that comes after is the
same but for rounding. A line of matrix_factorization.txt is a case, a name, and numbers.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LINES = []
BITS = 2**64 - 1
STEP = 0x9E3779B97F4A7C15


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def mixed(bits):
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & BITS
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & BITS
    return bits ^ (bits >> 31)


def fractions(seed, stream, count):
    counter = mixed((seed + STEP) & BITS) ^ mixed(stream * STEP & BITS)
    counter = mixed(counter)
    for _ in range(count):
        counter = (counter + STEP) & BITS
        yield (mixed(counter) >> 11) / 2**53


def ratings():
    """Ratings of 40 films by 80 people, of which every seventh is held out: `ratings` in the tests."""
    rows = []
    for i in range(4000):
        user, item = i * i % 6007 % 80, (i * 37 + i // 80) % 40
        taste = [user % 3 - 1, user % 5 - 2, (user % 7 - 3) / 2]
        film = [item % 5 - 2, (item % 3 - 1) / 2, (item % 4 - 1.5) / 2]
        noise = (i * 7919 % 1009) / 1009 - 0.5
        value = 3 + taste[0] * film[0] / 2 + taste[1] * film[1] / 2 + taste[2] * film[2] / 2 + (user % 4 - 1.5) / 4 + noise
        rows.append((user, item, min(max(round(value * 2) / 2, 0.5), 5.0)))
    return rows


def alternating(rows, factors, l2, steps):
    """Koren's biases with the penalty of Zhou et al.: each times how many ratings there are."""
    users, items, values = (np.array(column) for column in zip(*rows))
    mean = values.mean()
    names = [list(dict.fromkeys(users)), list(dict.fromkeys(items))]
    places = [np.array([names[side].index(name) for name in column]) for side, column in enumerate([users, items])]
    counts = [len(names[0]), len(names[1])]
    start = np.array(list(fractions(0, 0, counts[1] * factors))).reshape(counts[1], factors)
    sides = [np.zeros((counts[0], factors + 1)), np.column_stack([np.zeros(counts[1]), (start - 0.5) / np.sqrt(factors)])]
    for _ in range(steps):
        for side in [0, 1]:
            for place in range(counts[side]):
                own = places[side] == place
                other = sides[1 - side][places[1 - side][own]]
                seen = np.column_stack([np.ones(len(other)), other[:, 1:]])
                target = values[own] - mean - other[:, 0]
                penalty = l2 * own.sum() * np.eye(factors + 1)
                sides[side][place] = np.linalg.solve(seen.T @ seen + penalty, seen.T @ target)

    def predict(user, item):
        row = sides[0][names[0].index(user)], sides[1][names[1].index(item)]
        return mean + row[0][0] + row[1][0] + row[0][1:] @ row[1][1:]

    return predict


def implicit(rows, factors, l2, alpha, steps):
    """Hu, Koren and Volinsky: confidence 1 + alpha r in that a person likes what they have watched, 1 in all else."""
    names = [list(dict.fromkeys(row[side] for row in rows)) for side in [0, 1]]
    watched = np.zeros((len(names[0]), len(names[1])))
    for user, item, value in rows:
        watched[names[0].index(user), names[1].index(item)] += value
    start = np.array(list(fractions(0, 0, len(names[1]) * factors))).reshape(len(names[1]), factors)
    sides = [np.zeros((len(names[0]), factors)), (start - 0.5) / np.sqrt(factors)]
    likes = (watched > 0).astype(float)
    for _ in range(steps):
        for side, own in enumerate([watched, watched.T]):
            other = sides[1 - side]
            for place in range(len(names[side])):
                confidence = 1 + alpha * own[place]
                seen = other.T @ (confidence[:, None] * other) + l2 * np.eye(factors)
                sides[side][place] = np.linalg.solve(seen, other.T @ (confidence * (own[place] > 0)))
    said = sides[0] @ sides[1].T
    loss = ((1 + alpha * watched) * (likes - said) ** 2).sum() + l2 * ((sides[0] ** 2).sum() + (sides[1] ** 2).sum())
    known = lambda user, item: user in names[0] and item in names[1]
    predict = lambda user, item: said[names[0].index(user), names[1].index(item)] if known(user, item) else 0.0
    return loss / len(rows), predict


rows = ratings()
learnt = [row for i, row in enumerate(rows) if i % 7 != 0]
held = [row for i, row in enumerate(rows) if i % 7 == 0]
for case, factors, l2 in [("ratings", 3, 0.02), ("ratings_strict", 8, 0.3)]:
    predict = alternating(learnt, factors, l2, 15)
    for name, part in [("rmse", learnt), ("held_out_rmse", held)]:
        put(case, name, np.sqrt(np.mean([(predict(user, item) - value) ** 2 for user, item, value in part])))
    put(case, "predicted", [predict(user, item) for user, item, _ in held[::20]])
seen = [row for row in learnt if row[2] > 3.5]
loss, predict = implicit(seen, 5, 0.1, 10.0, 10)
put("watched", "loss", loss)
put("watched", "predicted", [predict(user, item) for user, item, _ in held[::20]])
(HERE / "matrix_factorization.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
