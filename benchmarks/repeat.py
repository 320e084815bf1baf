"""Whether the verdict of a race holds under another seed, on real data.

    python benchmarks/repeat.py [--seeds 20] [--same 40] [--fresh 16] [--modules 10]
                                [--sets digits,...,mlp,lenet,a9a] [--races DIR]

Each set is raced with every rule and with each value of ``--seed``; then Adam is raced against four
copies of itself, which differ in the order of their hyperparameters and so in their trials. Of
modules, an MLP on digits and LeNet on images of 28 x 28 (``examples/``), eight rules race. A race
takes up to some minutes, and its numbers are kept in DIR: the script goes on where it was stopped.

Of the races of a set it prints

- coverage: in how many races every rule's true price was within its interval. For the true price
  stands that of the mean over all repeats of all races;
- the winner of one race among the rules that could be best in another, over all ordered pairs;
- contradictions: one race calls A worse than B, another one calls B worse than A, over all pairs of
  races and of rules. A race calls A worse than B if A is worse and B could be best, or if the least
  price of A is above the highest of B;
- bounds: the highest price of the rule of which most is known;
- power: of the pairs of rules that truly lie at least 10 % or 25 % apart, how many a race tells
  apart; and the same if it had fewer repeats, each as it was.

Races of one set share its rows, whatever their seed. A race speaks of data that it has not seen at
all, so pieces of 1,000 rows of a9a are raced too, each row in one piece alone, if the folder that
THALWEG_DATA names has a9a. They are judged the same way, and tell how much of the variance of a
repeat all repeats of a race share (``comparison.OVERLAP``).
"""

import argparse
import functools
import inspect
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import binomtest
from sklearn.datasets import load_svmlight_file
from torch.utils.data import TensorDataset

import thalweg
from measure import save, show
from thalweg import rules as registry
from thalweg.data import Dataset
from thalweg.racing import comparison
from thalweg.racing.comparison import Comparison, compare
from thalweg.racing.protocol import rules_of
from thalweg.racing.store import Records
from thalweg.racing.trial import FINAL
from thalweg.rule import Rule
from thalweg.tasks.source import load_task

SETS = ("digits", "breast_cancer", "wine", "diabetes", "airfoil", "mlp", "lenet", "a9a")
APART = (0.25, 0.10)
FEWER = (3, 5, 8, 10)
COPIES = 5
PIECE = 1000  # rows
FEATURES = 123  # of a9a
WIDER = 0.2  # of the variance of a repeat, that all might share
EXAMPLES = Path(__file__).parents[1] / "examples"
EIGHT = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion")
IMAGES = 1000  # of LeNet: a training on all takes a minute
SEARCHED = ("lr", "beta1", "beta2")  # of Adam: their order decides which trials it has

Race = Mapping[str, Any]
Given = str | Dataset | thalweg.TorchTask


def copies() -> list[Rule]:
    """Declare Adam again under other names; each searches its hyperparameters in another order."""
    adam = registry.get("adam").function
    signature = inspect.signature(adam)
    fixed = [p for name, p in signature.parameters.items() if name not in SEARCHED]
    found = []
    for i, order in zip(range(COPIES), itertools.permutations(SEARCHED), strict=False):

        @functools.wraps(adam)
        def copy(*arrays: Any, **hyper: Any) -> Any:
            return adam(*arrays, **hyper)

        copy.__name__ = f"adam_{i}"
        ordered = [*fixed, *(signature.parameters[name] for name in order)]
        vars(copy)["__signature__"] = signature.replace(parameters=ordered)
        found.append(registry.rule("Adam, copied")(copy))
    return found


def pieces(count: int) -> list[Dataset]:
    """Return pieces of a9a, then of its test file; no two have a row in common."""
    found: list[Dataset] = []
    for name in ("a9a", "a9a.t"):
        file = str(Path(os.environ["THALWEG_DATA"]) / name)
        X, y = load_svmlight_file(file, n_features=FEATURES)
        rows = np.random.default_rng(0).permutation(len(y))
        for k in range(min(len(y) // PIECE, count - len(found))):
            part = rows[PIECE * k : PIECE * (k + 1)]
            title = f"{name}, rows {PIECE * k} to {PIECE * (k + 1)}"
            found.append(Dataset.from_arrays(X[part].toarray(), y[part].astype(int), name=title))
    return found


def mlp() -> thalweg.TorchTask:
    return load_task(str(EXAMPLES / "digits_mlp.py"))


def lenet() -> thalweg.TorchTask:
    """Return LeNet on some images, of which each repeat draws the parts."""
    whole = load_task(str(EXAMPLES / "mnist_lenet.py"))
    some = TensorDataset(*whole.train[:IMAGES])
    return replace(whole, train=some, validation=0.2, test=0.2, compile=True)


# Sets of which eight rules race, and what is asked for: less than by default, so that a race takes
# a minute.
MODULES: dict[str, tuple[str, Callable[[], thalweg.TorchTask], dict[str, Any]]] = {
    "mlp": ("digits, MLP", mlp, {"epochs": 5}),
    "lenet": ("images, LeNet", lenet, {"epochs": 2, "trials": 20}),
}


def raced(given: Given, rules: Sequence[Rule], seed: int, **terms: Any) -> Race:
    """Race once; return the test loss of each rule in each repeat, and what else is needed."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = thalweg.race(given, rules=rules, seed=seed, out=folder, **terms)
        with Records(Path(folder)) as records:
            finals = [result for result in records.results() if result.trial.phase == FINAL]
    results = verdict.results
    names = sorted(row["rule"] for row in results["rules"])
    repeats = range(results["protocol"]["repeats"])
    losses = [
        [
            float(np.mean([r.test_loss for r in finals if (r.trial.rule, r.trial.repeat) == at]))
            for at in ((rule, repeat) for repeat in repeats)
        ]
        for rule in names
    ]
    return {
        "rules": names,
        "rows": results["data"]["split"]["test"],
        "constant": results["target"]["constant"],
        "take": verdict.take,
        "losses": losses,
    }


def kept(
    file: Path,
    races: Mapping[int, Given],
    rules: Sequence[Rule],
    *,
    seeded: bool = True,
    **terms: Any,
) -> list[Race]:
    """Return the races of a set, those that the file lacks run now.

    Args:
        file: that keeps them.
        races: what is raced, by number.
        rules: that race.
        seeded: whether the number is the seed; else that is 0.
        **terms: of the race.
    """
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    missing = sorted(races.keys() - {race["number"] for race in found})
    for number in track(missing, file.stem, console=Console(stderr=True)):
        race = raced(races[number], rules, number if seeded else 0, **terms)
        found.append({"number": number, **race})
        with file.open("a") as lines:
            lines.write(json.dumps(found[-1]) + "\n")
    return [race for race in found if race["number"] in races]


def judged(race: Race, repeats: int | None = None, rules: int | None = None) -> Comparison:
    """Compare the rules of a race, or the first few, as a race does, by all repeats or fewer."""
    losses = np.array(race["losses"], float)[:rules, :repeats]
    return compare(losses, rows=race["rows"], constant=race["constant"])


def told(found: Comparison) -> NDArray[np.bool_]:
    """Return which rule (row) the race calls worse than which (column)."""
    worse = (found.low > 0)[:, None] & found.could_be_best
    return worse | (found.low[:, None] > found.high)


def pooled(races: Sequence[Race]) -> NDArray[np.float64]:
    """Return the price of each rule by all repeats of all races."""
    losses = np.concatenate([race["losses"] for race in races], axis=1)
    constant = float(np.mean([race["constant"] for race in races]))
    return compare(losses, rows=races[0]["rows"], constant=constant).price


def share(what: str, hits: int, of: int) -> dict[str, Any]:
    """Return a share; races of one set are not independent, so it has no interval."""
    return {"what": what, "hits": hits, "of": of}


def covered(found: Comparison, price: NDArray[np.float64]) -> bool:
    near = 1e-9  # of rounding
    return bool(((found.low <= price + near) & (price <= found.high + near)).all())


def power(
    found: Mapping[int, Sequence[Comparison]], price: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """Yield, for each distance, how many of the pairs so far apart a race tells apart.

    Args:
        found: what the races say, by their repeats.
        price: the true one of each rule.
    """
    distance = (1 + price)[:, None] / (1 + price) - 1
    for least, (repeats, races) in itertools.product(APART, found.items()):
        pairs = distance >= least
        if pairs.any():
            hits = sum(int(told(race)[pairs].sum()) for race in races)
            what = f"told apart at >= {least:.0%}, {repeats} repeats"
            yield share(what, hits, int(pairs.sum()) * len(races))


def bounds(found: Mapping[int, Sequence[Comparison]]) -> Iterator[dict[str, Any]]:
    """Yield the highest price of the rule that has the lowest one, the median over races."""
    for repeats, races in found.items():
        what = f"bound of the best-known price, {repeats} repeats"
        yield {"what": what, "value": float(np.median([race.high.min() for race in races]))}


def repeated(races: Sequence[Race]) -> list[dict[str, Any]]:
    """Return what the races of a set say of each other."""
    most, price = len(races[0]["losses"][0]), pooled(races)
    by_repeats = {
        repeats: [judged(race, repeats) for race in races] for repeats in FEWER if repeats <= most
    }
    found = by_repeats[most]
    ordered = list(itertools.permutations(found, 2))
    claims = list(map(told, found))
    contradicted = sum(int((a & b.T).sum()) for a, b in itertools.combinations(claims, 2))
    pairs = len(price) * (len(price) - 1) // 2
    return [
        share(
            "all prices within their intervals", sum(covered(f, price) for f in found), len(found)
        ),
        share(
            "winner could be best in another race",
            sum(bool(other.could_be_best[one.winner]) for one, other in ordered),
            len(ordered),
        ),
        share("contradictions", contradicted, pairs * len(ordered) // 2),
        share("rule to take could be best in another", _taken(races, found), len(ordered)),
        *power(by_repeats, price),
        *bounds(by_repeats),
    ]


def _taken(races: Sequence[Race], found: Sequence[Comparison]) -> int:
    at = [race["rules"].index(race["take"]) for race in races]
    pairs = itertools.permutations(range(len(races)), 2)
    return sum(bool(found[b].could_be_best[at[a]]) for a, b in pairs)


def same(races: Sequence[Race]) -> Iterator[dict[str, Any]]:
    """Yield how often copies of one rule are called different, two of them and all."""
    for rules in (2, COPIES):
        hits = sum(bool((judged(race, rules=rules).low > 0).any()) for race in races)
        found = share(f"{rules} copies of Adam: one is called worse", hits, len(races))
        low, high = binomtest(hits, len(races)).proportion_ci()
        yield {**found, "low": float(low), "high": float(high)}


def shared(races: Sequence[Race]) -> float:
    """Return which part of the variance of one repeat all repeats of a race share.

    x is the difference of two rules in the logarithm of the loss. Over races the mean of R repeats
    has the variance v(1/R + s), where v is that of one repeat within a race. Of s this is the mean
    over all pairs of rules.
    """
    losses = np.array([race["losses"] for race in races])  # (races, rules, repeats)
    constant = np.array([race["constant"] for race in races])[:, None, None]
    x = np.log((races[0]["rows"] * losses + constant) / (races[0]["rows"] + 1))
    apart = x[:, :, None] - x[:, None]
    within = apart.var(axis=-1, ddof=1).mean(axis=0)
    between = apart.mean(axis=-1).var(axis=0, ddof=1)
    upper = np.triu_indices(len(within), 1)
    return float(np.mean(between[upper] / within[upper]) - 1 / x.shape[-1])


def wider(races: Sequence[Race]) -> Iterator[dict[str, Any]]:
    """Yield what races would have said, had they counted with more variance that repeats share."""
    price = pooled(races)
    with mock.patch.object(comparison, "OVERLAP", WIDER):
        found = [judged(race) for race in races]
        hits = sum(covered(one, price) for one in found)
        yield share(f"all prices within their intervals, {WIDER} shared", hits, len(found))
        repeats = len(races[0]["losses"][0])
        for row in power({repeats: found}, price):
            yield {**row, "what": f"{row['what']}, {WIDER} shared"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="races of every rule; 20 by default")
    parser.add_argument("--same", type=int, default=40, help="races of copies; 40 by default")
    parser.add_argument(
        "--fresh", type=int, default=16, help="pieces of a9a, 48 at most; 16 by default"
    )
    parser.add_argument("--sets", default=",".join(SETS), help="all by default")
    parser.add_argument("--modules", type=int, default=10, help="races of each; 10 by default")
    parser.add_argument("--races", type=Path, default=Path("thalweg-race-repeats"), metavar="DIR")
    asked = parser.parse_args()
    asked.races.mkdir(exist_ok=True)
    every, same_rule, rows = rules_of(None), copies(), []
    for name in filter(None, asked.sets.split(",")):
        file = asked.races / f"{name}.jsonl"
        if name in MODULES:
            title, task, terms = MODULES[name]
            given = dict.fromkeys(range(asked.modules), task())
            found = repeated(kept(file, given, rules_of(EIGHT), **terms))
        elif name == "a9a":
            if "THALWEG_DATA" not in os.environ:
                continue
            title, fresh = "pieces of a9a", dict(enumerate(pieces(asked.fresh)))
            races = kept(file, fresh, every, seeded=False)
            part = {"what": "variance that repeats share", "value": shared(races)}
            found = [*repeated(races), part, *wider(races)]
        else:
            title = name
            races = kept(file, dict.fromkeys(range(asked.seeds), name), every)
            equal = asked.races / f"{name}-same.jsonl"
            copied = kept(equal, dict.fromkeys(range(asked.same), name), same_rule)
            found = [*repeated(races), *same(copied)]
        rows += [{"set": title, **row} for row in found]
    save("repeat", rows)
    show(
        "Races with other seeds, and of other rows",
        ["set", "what", "found"],
        list(map(shown, rows)),
    )


def shown(row: Mapping[str, Any]) -> list[str]:
    if "value" in row:
        return [row["set"], row["what"], f"{row['value']:.2g}"]
    share = row["hits"] / row["of"]
    return [row["set"], row["what"], f"{row['hits']} of {row['of']} ({share:.1%})"]


if __name__ == "__main__":
    main()
