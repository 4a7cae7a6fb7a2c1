#!/usr/bin/env python3
"""Writes what NumPy and MABWiser make of decisions: contextual bandits, Q-learning, and what a policy would earn.

Run by hand, with NumPy 2.4.6 and MABWiser 2.7.4, as make.py. A line of decisions.txt is a case, a name, and numbers. The rows
of `decisions`, `walk` and `logged` are those of the functions of these names in src/contextual_bandit/tests.rs,
src/q_learning/tests.rs and src/metrics/tests/off_policy.rs, by the same arithmetic.

The ridge regressions are MABWiser's LinUCB where its rows have a column of ones, and the normal equations in NumPy, which
must agree. Regret and Q-learning are the papers' algorithms, row by row.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LINES = []
ACTIONS = 10


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def bits(row, column):
    """SplitMix64 of the row and the column, its upper 31 bits."""
    mask = (1 << 64) - 1
    bits = (row * 100 + column) * 0x9E3779B97F4A7C15 & mask
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return (bits ^ bits >> 31) >> 33


def noise(row, column):
    """The same as a number in [-1, 1)."""
    return bits(row, column) / (1 << 30) - 1


def context(row):
    """Three numbers of other scales, and a category of three as their columns of a one-hot code."""
    return [1.0, noise(row, 0), 10 * noise(row, 1) + 50, 0.1 * noise(row, 2)], bits(row, 3) % 3


def expected_reward(row, action):
    (_, a, b, c), city = context(row)
    return 0.3 * noise(action, 90) + a * noise(action, 91) + (b - 50) / 10 * noise(action, 92) + 5 * c * noise(action, 93) + (
        0.5 * noise(action, 94) if city == 1 else 0.0
    )


def reward(row, action):
    return expected_reward(row, action) + 0.2 * noise(row, 4)


def decisions(rows):
    """Logged decisions: features, actions by chance, and rewards."""
    for row in range(rows):
        action = bits(row, 5) % 4
        yield context(row), action, reward(row, action)


def one_hot(rows):
    """A one, the numbers, and categories by their first sight."""
    seen, encoded = [], []
    for (numbers, city), _, _ in rows:
        if city not in seen:
            seen.append(city)
        encoded.append(numbers + [0.0] * 3)
        encoded[-1][4 + seen.index(city)] = 1.0
    return np.array(encoded)


def ridge(x, r, l2_reg):
    a = l2_reg * np.eye(x.shape[1]) + x.T @ x
    return np.linalg.solve(a, x.T @ r), np.linalg.inv(a)


def bandit():
    rows = list(decisions(600))
    plain = one_hot(rows)
    taken, r = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    scaled = plain.copy()
    scaled[:, 1:4] = (plain[:, 1:4] - plain[:, 1:4].mean(axis=0)) / plain[:, 1:4].std(axis=0)
    from mabwiser.mab import MAB, LearningPolicy

    for case, x in [("bandit_plain", plain), ("bandit_scaled", scaled)]:
        mab = MAB(list(range(4)), LearningPolicy.LinUCB(alpha=1.5, l2_lambda=0.7))
        mab.fit(taken, r, x)
        bounds = mab.predict_expectations(x[:5])
        for action in range(4):
            weights, inverse = ridge(x[taken == action], r[taken == action], 0.7)
            theirs = mab._imp.arm_to_model[action].beta
            assert np.allclose(weights, theirs, rtol=0, atol=1e-9), (weights, theirs)
            put(case, f"weights_{action}", weights)
            deviation = np.sqrt(np.einsum("ri,ij,rj->r", x[:5], inverse, x[:5]))
            put(case, f"deviations_{action}", deviation)
            ours = x[:5] @ weights + 1.5 * deviation
            assert np.allclose(ours, [row[action] for row in bounds], rtol=0, atol=1e-9)
        means = np.array([x[:200] @ ridge(x[taken == k], r[taken == k], 0.7)[0] for k in range(4)])
        spreads = [np.einsum("ri,ij,rj->r", x[:200], ridge(x[taken == k], r[taken == k], 0.7)[1], x[:200]) for k in range(4)]
        put(case, "chosen", np.argmax(means + 1.5 * np.sqrt(spreads), axis=0))


def regret(rounds):
    """LinUCB (Li et al. 2010, algorithm 1) of ten actions, each of which is tried once at first."""
    a = [np.eye(7) for _ in range(ACTIONS)]
    b = [np.zeros(7) for _ in range(ACTIONS)]
    total, seen, sums = 0.0, [], []
    for row in range(rounds):
        numbers, city = context(row)
        if city not in seen:
            seen.append(city)
        # The second number in the scale of the others: the bound is for features of about one.
        x = np.array([1.0, numbers[1], (numbers[2] - 50) / 10, 10 * numbers[3]] + [float(city == known) for known in seen])
        x = np.append(x, np.zeros(7 - len(x)))
        bounds = [x @ np.linalg.solve(a[k], b[k]) + 0.5 * np.sqrt(x @ np.linalg.solve(a[k], x)) for k in range(ACTIONS)]
        action = row if row < ACTIONS else int(np.argmax(bounds))
        a[action] += np.outer(x, x)
        b[action] += reward(row, action) * x
        total += max(expected_reward(row, k) for k in range(ACTIONS)) - expected_reward(row, action)
        sums.append(total)
    put("bandit_linucb", "regret", [sums[rounds // 2 - 1], sums[-1]])


LAKE = "SFFFFHFHFFFHHFFG"


def lake_step(cell, action, drawn):
    """FrozenLake's 4 x 4 cells: left, down, right, up; on ice a third of the steps each go aside, if `drawn` says so."""
    action = (action + [0, 3, 1][drawn]) % 4
    row, column = divmod(cell, 4)
    if action == 0:
        column = max(column - 1, 0)
    elif action == 1:
        row = min(row + 1, 3)
    elif action == 2:
        column = min(column + 1, 3)
    else:
        row = max(row - 1, 0)
    after = row * 4 + column
    return after, float(LAKE[after] == "G"), LAKE[after] in "GH"


def walk(rows, slippery):
    """What an agent does that takes any action, and begins anew where it ends."""
    cell = 0
    for row in range(rows):
        action = bits(row, 0) % 4
        after, gain, last = lake_step(cell, action, bits(row, 1) % 3 if slippery else 0)
        yield cell, action, gain, after, last
        cell = 0 if last else after


def chain(rows):
    """Six states in a row; going on costs, and the far end pays."""
    state = 0
    for row in range(rows):
        action = bits(row, 2) % 2
        after = min(state + 1, 5) if action == 1 else 0
        gain = 10.0 if after == 5 else (-0.1 if action == 1 else 0.2)
        yield state, action, gain, after, after == 5
        state = 0 if after == 5 else after


def q_table(case, rows, states, actions, discount, rate):
    """Watkins's algorithm. An action counts from when it is first taken, by anyone."""
    q, visits, known = np.zeros((states, actions)), np.zeros((states, actions)), []
    for state, action, gain, after, last in rows:
        if action not in known:
            known.append(action)
        visits[state, action] += 1
        target = gain if last else gain + discount * max(q[after, k] for k in known)
        share = rate if rate else 1.0 / visits[state, action]
        q[state, action] += share * (target - q[state, action])
    put(case, "values", q)


def q_linear(case, rows, discount, rate):
    """Semi-gradient Q-learning of one-hot cells beside two numbers, x in a weight vector of each action's own."""
    known, weights = [], np.zeros((4, 3))
    encode = lambda cell: np.array([1.0, cell // 4 / 3, cell % 4 / 3])
    for state, action, gain, after, last in rows:
        if action not in known:
            known.append(action)
        x = encode(state)
        target = gain if last else gain + discount * max(weights[k] @ encode(after) for k in known)
        weights[action] += rate * (target - weights[action] @ x) * x
    put(case, "weights", weights)


def logged(rows):
    """Decisions of three actions with their propensities, and a policy with what it expects."""
    for row in range(rows):
        shares = np.array([1.0 + bits(row, column) % 5 for column in range(3)])
        shares /= shares.sum()
        action = bits(row, 3) % 3
        yield noise(row, 4) + action, shares[action], action, bits(row, 5) % 3, 0.5 + 0.1 * noise(row, 6)


def off_policy():
    r, p, action, predicted, q = (np.array(column) for column in zip(*logged(200)))
    w = (action == predicted) / p
    put("off_policy", "ips", np.mean(w * r))
    put("off_policy", "snips", np.sum(w * r) / np.sum(w))
    put("off_policy", "doubly_robust", np.mean(q + w * (r - q)))
    put("off_policy", "ips_error", np.std(w * r, ddof=1) / np.sqrt(200))
    put("off_policy", "doubly_robust_error", np.std(q + w * (r - q), ddof=1) / np.sqrt(200))
    put("off_policy", "effective_rows", np.sum(w) ** 2 / np.sum(w**2))
    # A policy that takes each action with a probability: the weights are those, and the model expects something of each.
    share = np.array([(1.0 + bits(row, 7) % 4) / 6 for row in range(200)])
    v = np.array([noise(row, 8) for row in range(200)])
    w = share / p
    put("off_policy_shares", "ips", np.mean(w * r))
    put("off_policy_shares", "snips", np.sum(w * r) / np.sum(w))
    put("off_policy_shares", "doubly_robust", np.mean(v + w * (r - q)))


def main():
    bandit()
    regret(2000)
    for slippery in [False, True]:
        q_table(f"lake_{slippery}", list(walk(5000, slippery)), 16, 4, 0.95, 0.1)
    q_table("lake_visits", list(walk(5000, True)), 16, 4, 0.9, None)
    q_table("chain", list(chain(3000)), 6, 2, 0.9, 0.2)
    q_linear("lake_linear", list(walk(3000, False)), 0.9, 0.05)
    off_policy()
    (HERE / "decisions.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
