"""Logs: columns of numbers from whatever a training wrote, each with the rows that have a value."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from thalweg.doctor import printed
from thalweg.words import listed

__all__ = ["Column", "Log", "english", "read"]

Floats = NDArray[np.float64]
Column = tuple[NDArray[np.int64], Floats]
"""The rows that have a value, and the values; NaN is a value, a gap is none."""

_EVENTS = "tfevents"
_FORMS = (
    "a CSV file with a header, JSON, JSON lines, TensorBoard event files, the folder of a race or "
    "of Lightning's CSVLogger, or text with lines such as 'epoch 3 loss: 0.51'"
)
_OTHERS = {  # what a folder may hold in place of a log, and what to do
    "*.wandb": "wandb's own files are not read: download the curves from its page as CSV",
    "wandb-summary.json": "wandb's summary has none: download the curves from its page as CSV",
    "*.py": "it holds Python files, and thalweg check FILE.py:task looks at a training",
}
_PARTED = ("mode", "phase", "split", "subset", "stage", "part", "set")  # of a row: train or val
_COUNTED = re.compile(r"(?i)epoch|step|iter|batch|time|lr|rate")  # the same in both parts
_KEYS = ("metric", "metric_name", "key", "tag")  # beside a value: a row for each metric
_MOST = 500_000_000  # bytes of a text that is read
_HEAD = 1 << 16


@dataclass(frozen=True)
class Log:
    """What a log holds.

    Args:
        name: the file or folder.
        columns: by name.
        notes: what was assumed.
    """

    name: str
    columns: dict[str, Column]
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Log:
    """Return the columns of a log.

    Args:
        path: a file, or a folder that holds one log.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no log, or a folder holds several.
        ImportError: it needs the tensorboard package.
    """
    if path.is_dir():
        path = _within(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a log: {_FORMS}")
    if path.is_dir():
        return _race(path) if (path / "curves.parquet").exists() else _mlflow(path)
    if _EVENTS in path.name:
        return _events(path)
    if _is_metric(path):  # of MLflow
        values = [line.split()[1] for line in path.read_text(encoding="utf-8").splitlines()]
        return Log(str(path), _of_records({"loss": value} for value in values))
    if path.suffix == ".parquet":
        return Log(str(path), _of_table(_parquet(path)))
    if (size := path.stat().st_size) > _MOST:
        raise ValueError(
            f"{path} has {size / 1e6:.0f} MB; keep the columns of losses, or fewer rows"
        )
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty: nothing was logged, or it is not flushed yet")
    return Log(str(path), *_text(path, content))


def _within(folder: Path) -> Path:
    """Return the log that a folder holds, itself if it is a race's."""
    if (folder / "curves.parquet").exists():
        return folder
    states = [*folder.glob("trainer_state.json"), *folder.glob("checkpoint-*/trainer_state.json")]
    if states:  # each holds the one before
        return max(states, key=lambda state: state.stat().st_size)
    for pattern in ("metrics.csv", f"*{_EVENTS}*", "*.csv", "*.jsonl"):
        found = sorted(folder.rglob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = listed([str(one.relative_to(folder)) for one in found], 3)
            raise ValueError(f"{folder} holds several logs ({names}); name one of them")
    runs = sorted({one.parent.parent for one in folder.rglob("metrics/*") if _is_metric(one)})
    if folder.name == "metrics" and any(map(_is_metric, folder.iterdir())):
        runs = [folder.parent]
    if len(runs) > 1:
        names = listed([str(one.relative_to(folder)) for one in runs], 3)
        raise ValueError(f"{folder} holds several runs of MLflow ({names}); name one of them")
    if runs:
        return runs[0]
    other = (told for what, told in _OTHERS.items() if any(folder.rglob(what)))
    raise ValueError(f"{folder} holds no log that is known: {next(other, _FORMS)}")


def _is_metric(path: Path) -> bool:
    """Return whether a file has lines of a time, a value and a step, as MLflow writes a metric."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return re.fullmatch(rb"\d{10,} \S+ \d+\s*", file.readline(_HEAD)) is not None


def _mlflow(run: Path) -> Log:
    """Return the metrics of a run of MLflow, each a file."""
    records: list[dict[str, float | str]] = []
    for path in sorted((run / "metrics").rglob("*")):
        if _is_metric(path):
            name = path.relative_to(run / "metrics").as_posix()
            rows = map(str.split, path.read_text(encoding="utf-8").splitlines())
            records += [{"step": step, name: value} for _, value, step in rows]
    records.sort(key=lambda record: float(record["step"]))
    return Log(str(run), _of_records(records), ["metrics of a run of MLflow"])


def _race(folder: Path) -> Log:
    """Return the finals of the rule to take: the median over its seeds."""
    from thalweg.report import curves, record  # noqa: PLC0415 - for races alone

    results = record.read(folder)
    table = curves.read(folder, results)
    finals = table.filter((pc.field("rule") == results.take) & (pc.field("phase") == "final"))
    frame = finals.to_pandas().groupby("epoch")[["train_loss", "validation_loss"]].median()
    rows = np.arange(len(frame))
    columns = {str(name): (rows, frame[name].to_numpy(float)) for name in frame}
    columns["epoch"] = (rows, frame.index.to_numpy(float))
    note = f"the finals of {results.take}, which the race says to take: the median over their seeds"
    return Log(str(folder), columns, [note])


def _events(path: Path) -> Log:
    """Return the scalars of a TensorBoard event file."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import (  # noqa: PLC0415
            EventFileLoader,
        )
        from tensorboard.util import tensor_util  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ImportError(
            f"{path} is TensorBoard's; to read it: pip install tensorboard (or download the curve "
            "as CSV from TensorBoard's page)"
        ) from None
    records: list[dict[str, float]] = []
    try:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plain = not value.HasField("tensor")
                number = np.array(
                    value.simple_value if plain else tensor_util.make_ndarray(value.tensor)
                )
                if number.size == 1 and number.dtype.kind in "fiu":
                    records.append({"step": event.step, value.tag: float(number.item())})
    except Exception as error:
        raise ValueError(f"{path} is damaged ({error}), or it is no event file") from error
    if not records:
        raise ValueError(f"{path} has no scalars: nothing was logged, or it is no event file")
    return Log(str(path), _of_records(records))


def _parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file ({' '.join(str(error).split())})") from None


def _text(path: Path, content: bytes) -> tuple[dict[str, Column], list[str]]:
    if b"\0" in content[:_HEAD] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is not a log, it is binary; give {_FORMS}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # PowerShell's >
        content = content.decode("utf-16", "replace").encode()
    elif not content.isascii():
        content = content.decode("utf-8-sig", "replace").encode()
    content = _with_points(content)
    first = content.lstrip()[:1]
    columns: dict[str, Column] = {}
    notes: list[str] = []
    if first in {b"{", b"["}:
        columns = _json(path, content)
    columns = columns or _of_lists(content)
    columns = columns or _of_records(printed.ruled(content))
    columns = columns or _among(content)
    if not columns and first != b"{":  # lines may begin with [their time]
        columns, notes = _delimited(content)
    columns = columns or _prose(content)
    if not columns and re.fullmatch(rb"[^\n]*[^\n\d],[^\n]*\n?", content):
        raise ValueError(f"{path} has a header and no rows: nothing was logged, or not flushed yet")
    if not columns:
        raise ValueError(f"{path} is not a log that is known; give {_FORMS}")
    return columns, notes


def _among(content: bytes) -> dict[str, Column]:
    """Return the columns of tables among other lines, if no more lines have a loss by its name.

    A table of folds may stand below the losses of epochs. A file of one table alone is read faster
    as delimited text.
    """
    if _aligned(content[:_HEAD].decode("utf-8", "replace").splitlines()[:4]):
        return {}
    rows = printed.tables(content)
    lines = content.decode("utf-8", "replace").splitlines() if rows else []
    told = sum(any("loss" in m[1].lower() for m in _LOSS.finditer(line)) for line in lines)
    return _of_records(rows) if len(rows) >= told else {}


def _with_points(content: bytes) -> bytes:
    """Return lines such as loss: 0,5123 with a decimal point, where no number has one.

    Three digits may be thousands, so that some number must have others.
    """
    number = rb"(?<=[^\W\d_][ :=])( ?\d+),(\d+)(?=\s|$)"
    places = {len(after) for _, after in re.findall(number, content[:_HEAD])}
    if len(places - {3}) == 0 or re.search(rb"\d\.\d|;", content[:_HEAD]):
        return content
    return re.sub(number, rb"\1.\2", content)


# JSON


def _json(path: Path, content: bytes) -> dict[str, Column]:
    """Return the columns of JSON or JSON lines: records, a dict of lists, or a trainer's state."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = list(_json_lines(text))
    if isinstance(value, dict):
        value = value.get("log_history", value.get("history", value))
    if isinstance(value, dict):
        value = _flat(value)
        lists = {k: v for k, v in value.items() if isinstance(v, list)}
        return _of_records(
            (dict(zip(lists, row, strict=True)) for row in _transposed(list(lists.values())))
            if lists
            else [value]
        )
    if isinstance(value, list) and value and all(_number(one) is not None for one in value):
        value = [{"loss": one} for one in value]
    if isinstance(value, list) and value and all(_is_scalar(one) for one in value):
        value = [{"step": step, "loss": loss} for _, step, loss in value]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{path} must hold records of numbers, such as {{'step': 1, 'loss': 0.5}}")
    return _of_records(_by_part(map(_flat, value)))


def _is_scalar(value: object) -> bool:
    """Return whether a list is a time, a step and a value, as TensorBoard's page gives JSON."""
    return isinstance(value, list) and len(value) == 3 and None not in map(_number, value)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without records in it: {'val': {'loss': 1}} becomes {'val/loss': 1}.

    What is numbered, as pandas writes columns, becomes a list.
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if not isinstance(value, dict):
            flat[name] = value
        elif value and all(map(str.isdigit, value)):
            flat[name] = list(value.values())
        else:
            flat |= {f"{name}/{part}": inner for part, inner in _flat(value).items()}
    return flat


def _transposed(lists: Sequence[list[Any]]) -> Iterator[tuple[Any, ...]]:
    longest = max(map(len, lists))
    return zip(*(one + [None] * (longest - len(one)) for one in lists), strict=True)


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the records of JSON lines; a last line that is cut is left out."""
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _by_part(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return records with val/loss for the loss of those that say that their mode is val.

    Others must say that theirs is train.
    """
    records = list(records)
    for key in _PARTED:
        said = [str(record.get(key, "")).strip().lower() for record in records]
        if any(each.startswith("train") for each in said):
            parts = [_PART.fullmatch(each) for each in said]
            return [
                {f"val/{n}" if not _COUNTED.search(n) else n: v for n, v in record.items()}
                if part and part[1]
                else record
                for part, record in zip(parts, records, strict=True)
            ]
    return records


def _of_records(records: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row, record in enumerate(records):
        for name, value in record.items():
            number = _number(value)
            if number is not None:
                rows, values = found.setdefault(name, ([], []))
                rows.append(row)
                values.append(number)
    return {
        name: (np.array(rows, np.int64), np.array(values, float))
        for name, (rows, values) in found.items()
    }


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


# Delimited text


def _delimited(content: bytes) -> tuple[dict[str, Column], list[str]]:
    """Return the columns of a table with a header; none where the text is no table."""
    head = content[:_HEAD].decode("utf-8", "replace").splitlines()
    skipped = next((n for n, line in enumerate(head) if line.strip() and line[0] != "#"), 0)
    content = content.split(b"\n", skipped)[-1]
    names = head[skipped - 1].lstrip("# ") if skipped else "loss"
    first = _cells(head[skipped])
    if len(first) == len(_cells(names)) and _is_number(first[0]):
        head[skipped:skipped] = [names]  # numbers under a comment, or one column without a name
        content = f"{names}\n".encode() + content
    head = head[skipped:]
    if _aligned(head[:4]):
        content = re.sub(rb"[ \t]+(?=[\r\n]|$)|(?<=\n)[ \t]+", b"", content.lstrip(b" \t"))
        content = re.sub(rb"[ \t]+", b"\t", content)
        head = content[:_HEAD].decode("utf-8", "replace").splitlines()
    header = head[0]
    delimiter = max(",\t;|", key=header.count)
    if header.count(delimiter) == 0 and (len(head) < 2 or not _all_numbers(head)):
        return {}, []
    notes: list[str] = []
    runs = 1 + content.count(b"\n" + header.strip().encode(), len(header))
    if runs > 1:  # a logger that was started again appends its header
        notes.append(f"the file has {runs} runs, each with a header; this is the last")
        content = content[content.rindex(b"\n" + header.strip().encode()) + 1 :]
    table = _arrow(content, delimiter)
    columns = {} if table is None else _of_table(table)
    if columns and all(_is_number(name) for name in table.column_names):  # type: ignore[union-attr]
        return {}, []
    return columns, notes


def _aligned(lines: Sequence[str]) -> bool:
    """Return whether blanks alone part the columns: names, and below them a number each."""
    header, *rows = (line.split() for line in lines)
    return (
        len(header) > 1
        and not set(",;|:=\t") & set(lines[0])
        and not any(map(_is_number, header))
        and bool(rows)
        and all(len(row) == len(header) and all(map(_is_number, row[:2])) for row in rows if row)
    )


def _cells(line: str) -> list[str]:
    return re.split(r"[,;\s]+", line.strip())


def _is_number(text: str) -> bool:
    return _number(text) is not None


def _all_numbers(head: Sequence[str]) -> bool:
    """Return whether below the header stands one number a line."""
    return not _is_number(head[0]) and all(_is_number(line) for line in head[1:-1] if line.strip())


def _arrow(content: bytes, delimiter: str) -> pa.Table | None:
    options: dict[str, Any] = {
        "parse_options": pa.csv.ParseOptions(
            delimiter=delimiter, invalid_row_handler=lambda _: "skip"
        ),
    }
    convert = {"null_values": ["", "None", "null", "NULL"], "strings_can_be_null": True}
    if delimiter != "," and re.search(rb"[;\t]-?\d+,\d+[;\t\r\n]", content[:_HEAD]):
        convert["decimal_point"] = ","
    try:
        return pa.csv.read_csv(
            io.BytesIO(content), convert_options=pa.csv.ConvertOptions(**convert), **options
        )
    except pa.ArrowInvalid:  # a text where numbers were before: all columns as text
        names = content.split(b"\n", 1)[0].decode("utf-8", "replace").split(delimiter)
        types = dict.fromkeys((name.strip().strip('"') for name in names), pa.string())
        convert["column_types"] = types
    try:
        return pa.csv.read_csv(
            io.BytesIO(content), convert_options=pa.csv.ConvertOptions(**convert), **options
        )
    except pa.ArrowInvalid:
        return None


def _of_table(table: pa.Table) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    names = {name.strip().lower(): name for name in table.column_names}
    if "value" in names and (key := next((names[k] for k in _KEYS if k in names), None)):
        rows = table.rename_columns({names["value"]: "value", key: "key"}).to_pylist()
        return _of_records({**row, str(row["key"]): row["value"], "value": None} for row in rows)
    if part := next((names[k] for k in _PARTED if k in names), None):
        rows = _by_part(table.rename_columns({part: part.strip().lower()}).to_pylist())
        return _of_records(rows)
    for name, column in zip(table.column_names, table.columns, strict=True):
        found = _of_array(column)
        if found is not None:
            columns[name.strip()] = found
    return columns


def _of_array(column: pa.ChunkedArray) -> Column | None:
    """Return a column that has numbers; texts among them are gaps."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = [None if text is None else _number(text) for text in column.to_pylist()]
        column = pa.chunked_array([pa.array(values, pa.float64())])
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    rows = np.flatnonzero(_plain(column.is_valid()))
    if not len(rows):
        return None
    return rows, _plain(column.drop_null().cast(pa.float64(), safe=False))


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as an array; a ChunkedArray's own method would load pandas."""
    whole = column.combine_chunks()
    array: NDArray[Any] = whole.to_numpy(zero_copy_only=False)
    return array


# Text with words and numbers

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_NAME = r"([^\W\d_][\w/.-]*(?: (?:loss|error))?)['\"]?"
_VALUE = rf"(?:tensor\()?['\"]?({_NUMBER})(?![\w.])"
_LOSS = re.compile(rf"{_NAME}(?:\s*[:=]\s*|(?<=loss)\s+){_VALUE}", re.IGNORECASE)
_ANY = re.compile(rf"{_NAME}(?:\s*[:=]\s*|\s+){_VALUE}", re.IGNORECASE)
_PART = re.compile(
    r"(?<![a-z])(?:train|(val|eval|test|dev))(?:ing|id|idation|uation)?(?![a-z])", re.IGNORECASE
)
_PLACE = re.compile(
    r"\b(epoch|step|iter(?:ation)?)\b['\"]?\s*[:=#]?\s*[\[(]?\s*(\d+(?:\.\d+)?)", re.IGNORECASE
)
_LIST = re.compile(
    r"(?m)(?:^|[{,(])[ \t]{0,9}['\"]?([a-z_][\w/. -]{0,60}?)['\"]?[ \t]{0,9}[:=][ \t]{0,9}"
    r"\[([^][]*)\]",
    re.IGNORECASE,
)
_BEHIND = re.compile(  # as darknet writes it
    rf"(?<![\w.])({_NUMBER}) ((?:\w+ )?loss|avg(?=, {_NUMBER} rate))\b", re.IGNORECASE
)
_BOXED = re.compile(
    rf"(?m)^\|[ \t]+([\w/ ]+?)[ \t]*\|[ \t]*({_NUMBER})[ \t]*\|[ \t]*$", re.IGNORECASE
)
_RANK = re.compile(r"(?i)\brank[ _:=]*(\d+)\b")
_ENGLISH = (  # the words of others for what a loss is, and of which part
    (r"verluste?|pertes?|p[eé]rdida|perdita|perda|потери|损失|損失|손실", "loss"),
    (r"validierungs?-?|validaci[oó]n|validação|validazione|валидаци\w+|验证|驗證|検証|검증", "val"),
    (r"trainings?-?(?= loss)|entrenamiento|entra[iî]nement|treinamento|treino|обучени\w+", "train"),
    (r"addestramento|训练|訓練|学習|훈련|학습", "train"),
    (r"epoche|época|épocas|epoca|époque|эпоха|第(?=\d+ ?[轮輪])", "epoch"),
)  # fmt: skip
_ITEM = re.compile(rf"(?:tensor\(|[\w.]+\()?({_NUMBER})[^,]*", re.IGNORECASE)
_BEST = re.compile(r"best iteration", re.IGNORECASE)  # it was printed before
_ENOUGH = 8  # lines with a loss that show a curve
_SOME = 3  # lines with a number of one name, which make a log


def english(text: str) -> str:
    """Return a text with the words loss, train, val and epoch for those of other languages.

    Example:
        >>> english("Validierungsverlust"), english("训练损失:0.5"), english("pérdida")
        (' val  loss ', ' train  loss :0.5', ' loss ')
    """
    for words, word in _ENGLISH:
        text = re.sub(words, f" {word} ", text, flags=re.IGNORECASE)
    return text


def _of_lists(content: bytes) -> dict[str, Column]:
    """Return lists of numbers that were printed: train_losses = [0.5, 0.4], or a dict of them."""
    lists: dict[str, list[Any]] = {}
    for name, inner in _LIST.findall(content.decode("utf-8", "replace")):
        items = [re.fullmatch(_ITEM, item.strip()) for item in inner.strip(", \n").split(",")]
        numbers = [item[1] for item in items if item]
        if len(numbers) == len(items) >= _SOME:
            lists[name.strip()] = numbers
    rows = _transposed(list(lists.values())) if lists else ()
    return _of_records(dict(zip(lists, row, strict=True)) for row in rows)


def _prose(content: bytes) -> dict[str, Column]:
    """Return what lines say in the form ``name: number``, where a name is that of a loss.

    A line without an epoch or step has that of a line before. Where no line names a loss, all
    names that come more often count, so that the user can say which is one.
    """
    text = _BOXED.sub(r"\1: \2", content.decode("utf-8", "replace"))
    text = text if "loss" in text.lower() else english(text)
    lines = _last_shown(text)
    leads = any(rank == "0" for line in lines for rank in _RANK.findall(line))
    records: list[dict[str, float]] = []
    place: dict[str, float] = {}
    above = ""
    for each in lines:
        line, above = above + each, ""
        if line.rstrip().endswith(":") and not re.search(r"\d", line):
            above = line  # it says what the next line is of
        if _BEST.search(line) or (leads and (rank := _RANK.search(line)) and int(rank[1])):
            continue  # what other processes print is of the same step
        place |= {name.lower(): float(value) for name, value in _PLACE.findall(line)}
        found = {_of_part(match, line): float(match[2]) for match in _LOSS.finditer(line)}
        if not found:
            behind = [(m[2].lower(), float(m[1])) for m in _BEHIND.finditer(line)]
            found = {name if "loss" in name else f"{name} loss": value for name, value in behind}
        if any("loss" in name for name in found):
            records.append(place | found)
    if not records:
        named = ({m[1]: float(m[2]) for m in _ANY.finditer(line)} for line in lines)
        columns = _of_records(named)
        columns = {name: one for name, one in columns.items() if len(one[0]) >= _SOME}
        if {"learn", "test"} <= columns.keys():  # of CatBoost
            columns |= {f"{part} loss": columns.pop(part) for part in ("learn", "test")}
        return columns
    return _of_records(records)


def _last_shown(text: str) -> list[str]:
    """Return the lines of a text; of one that was written over, as by progress bars, the last."""
    lines = text.replace("\r\n", "\n").split("\n")
    over = [[part for part in line.split("\r") if _LOSS.search(part)] for line in lines]
    if sum(map(bool, over)) < _ENOUGH:
        return re.split(r"[\r\n]+", text)
    return [own[-1] if own else line for own, line in zip(over, lines, strict=True)]


def _of_part(match: re.Match[str], line: str) -> str:
    """Return a name, after the part of the data that the line names before: test set: loss."""
    name = match[1].lower()
    parts = _PART.findall(line[: match.start(2)])
    if "loss" not in name or not parts or _PART.search(re.sub(r"[\W_]+", " ", name)):
        return name
    return f"{parts[-1].lower()} {name}".strip()
