"""Change a race's folder at random, and see that every command ends in a sentence.

``python tests/fuzz_folder.py [COUNT [SEED]]`` does it long; tests/racing/test_fuzz.py a little.
"""

import contextlib
import io
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import thalweg
from thalweg import cli

COMMANDS = (
    ("results",),
    ("results", "--csv"),
    ("results", "--json"),
    ("report",),
    ("watch",),
    ("race", "--quiet", "--resume"),
)
# What somebody may write where another value stood.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 10**6, 2**31, 2**53, 2**63 - 1, -(2**63), 10**30, 0.0, -0.0,
    -1.5, 5e-324, 1e308, -1e308, float("inf"), float("nan"), "", "adam", "nan", "../..", "/etc",
    "\x1b[2J\u202e", "<script>", "a\x00b", "\ud800", [], {}, [None], [[]], {"lr": "x"}, "é" * 999,
)  # fmt: skip


def make(folder: Path) -> Path:
    """Race into a new folder."""
    thalweg.race(
        "iris", rules=["sgd", "adam"], epochs=2, trials=4, seeds=2, batch_size=[16, 32], out=folder
    )
    return folder


def changed(folder: Path, rng: random.Random) -> str:
    """Change one thing in a folder; return what was done."""
    way = rng.choice((_json, _json, _row, _row, _row, _kept_json, _bytes, _delete))
    return way(folder, rng)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, (dict, list)):
        for key, below in inner:
            yield from _places(below, (*path, key))


def _mutated(value: Any, rng: random.Random) -> str:
    """Change, delete, double or rename one value in what JSON holds."""
    *path, last = rng.choice(list(_places(value)))
    at = value
    for key in path:
        at = at[key]
    what = rng.choice(("change", "change", "change", "delete", "double", "rename"))
    if what == "delete":
        del at[last]
    elif what == "double" and isinstance(at, list):
        at.append(at[last])
    elif what == "rename" and isinstance(at, dict):
        at[rng.choice(("lion", "x", "\x1b[2J", "../.."))] = at.pop(last)
    else:
        at[last] = new = rng.choice(VALUES)
        what = f"to {new!r:.40}"
    return f"{[*path, last]} {what}"


def _json(folder: Path, rng: random.Random) -> str:
    path = folder / "results.json"
    values = json.loads(path.read_text())
    done = _mutated(values, rng)
    path.write_text(json.dumps(values))
    return f"results.json {done}"


@contextlib.contextmanager
def _sqlite(folder: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(folder / "race.sqlite")) as kept, kept:
        yield kept


def _table(kept: sqlite3.Connection, rng: random.Random) -> tuple[str, list[Any]]:
    tables = ("race", "counts", "trials", "trials", "evaluations", "timings", "progress")
    table = rng.choice(tables)
    return table, list(kept.execute(f"PRAGMA table_info({table})"))


def _row(folder: Path, rng: random.Random) -> str:
    with _sqlite(folder) as kept:
        table, columns = _table(kept, rng)
        column = rng.choice(columns)[1]
        value = rng.choice((*VALUES, b"\xff\x00"))
        if isinstance(value, (list, dict, str)):
            value = json.dumps(value) if not isinstance(value, str) else value
        rows = kept.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        where = f"LIMIT 1 OFFSET {rng.randrange(max(1, rows))}"
        key = "rowid" if table != "evaluations" else "trial, epoch"
        kept.execute("PRAGMA ignore_check_constraints = ON")
        query = f"({key}) IN (SELECT {key} FROM {table} {where})"  # noqa: S608
        try:
            if rng.random() < 0.2:
                kept.execute(f"DELETE FROM {table} WHERE {query}")  # noqa: S608
            else:
                kept.execute(f"UPDATE {table} SET {column} = ? WHERE {query}", (value,))  # noqa: S608
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            return f"nothing: {error}"
    return f"{table}.{column} {value!r:.40}"


def _kept_json(folder: Path, rng: random.Random) -> str:
    table, column = rng.choice((("race", "terms"), ("progress", "state"), ("trials", "hyper")))
    with _sqlite(folder) as kept:
        key, text = kept.execute(f"SELECT id, {column} FROM {table}").fetchone()  # noqa: S608
        values = json.loads(text)
        done = _mutated(values, rng)
        query = f"UPDATE {table} SET {column} = ? WHERE id = ?"  # noqa: S608
        kept.execute(query, (json.dumps(values), key))
    return f"{table}.{column} {done}"


def _bytes(folder: Path, rng: random.Random) -> str:
    path = rng.choice([path for path in sorted(folder.iterdir()) if path.is_file()])
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 8, 64))):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content[: rng.choice((len(content), len(content), len(content) // 2))])
    return f"{path.name} bytes"


def _delete(folder: Path, rng: random.Random) -> str:
    path = rng.choice([path for path in sorted(folder.iterdir()) if path.is_file()])
    path.unlink()
    return f"{path.name} deleted"


def wrong(words: list[str]) -> str:
    """Run a command; return what is wrong with how it ends, "" for nothing."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(words)
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    out.flush()
    err.flush()
    shown, error = (stream.buffer.getvalue().decode() for stream in (out, err))
    if code not in {0, 1, 2} or (code and not error.startswith("error: ")):
        return f"exit code {code}: {error}"
    if "\x1b" in shown + error or "\u202e" in shown + error:
        return "a command to the terminal was printed"
    return f"many lines: {error}" if len(error.splitlines()) > 1 and code else ""


def run(count: int, seed: int, whole: Path, place: Path) -> Iterator[str]:
    """Change a folder so many times, each time one to three things; yield what goes wrong."""
    for number in range(count):
        rng = random.Random(f"{seed} {number}")  # noqa: S311
        folder = place / "race"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        done = []
        with contextlib.suppress(sqlite3.Error, ValueError, IndexError, TypeError, OSError):
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                done.append(changed(folder, rng))  # noqa: PERF401 - it may raise
        for command in COMMANDS:
            if said := wrong([*command, str(folder)]):
                yield f"{number}: {command} after {done}: {said}"


if __name__ == "__main__":
    counted, seeded = (int(word) for word in [*sys.argv[1:], *("1000", "0")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as place:
        found = 0
        for said in run(counted, seeded, make(Path(place) / "whole"), Path(place)):
            print(said, flush=True)  # noqa: T201
            found += 1
        print(f"{found} of {counted * len(COMMANDS)} commands went wrong")  # noqa: T201
        sys.exit(found > 0)
