"""Saved: a linear model in a file, with all that turns new rows of a table into its features."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from thalweg import files
from thalweg.data import Dataset, Encoder
from thalweg.data.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

    from thalweg.data.columns import Style

__all__ = ["MARK", "Saved", "load"]

MARK = b"thalweg's linear model\n"


@dataclass(frozen=True)
class Saved:
    """A trained model of a table.

    Attributes:
        estimator: the classifier or the regressor, of the encoder's features.
        encoder: of the columns.
        kinds: what each column held: "number", "category" or "date".
        target: the column that is predicted.
        classes: their names; None of a regression.
        options: how the table was read.
        styles: how the texts of its columns were written.
        words: those of each column that has a feature for each word.
        version: of scikit-learn, whose parts the file has.
    """

    estimator: Any
    encoder: Encoder
    kinds: dict[str, str]
    target: str
    classes: tuple[str, ...] | None
    options: Options
    styles: "Mapping[str, Style]"
    words: "Mapping[str, frozenset[str]]"
    version: str = sklearn.__version__

    @classmethod
    def of(cls, estimator: Any, encoder: Encoder, dataset: Dataset) -> "Saved":  # noqa: ANN401
        """Return what is kept of a model that was trained on an encoded data set."""
        kinds = dict.fromkeys(dataset.features, "number")
        if not isinstance(dataset.X, np.ndarray):
            held = {"M": "date", "O": "category"}
            kinds = {n: held.get(dataset.X[n].dtype.kind, "number") for n in dataset.features}
        return cls(
            estimator, encoder, kinds, dataset.target, dataset.classes, dataset.options,
            dataset.styles, encoder.words(),
        )  # fmt: skip

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the file; see ``files.write``.

        Raises:
            FileExistsError: another file is in its place; it stays.
        """
        return files.write(path, MARK + pickle.dumps(self), MARK)

    def features(self, table: "pa.Table", *, comma: bool = False) -> NDArray[np.float64]:
        """Return the features of new rows. A word that was never seen is none of the known ones.

        Args:
            table: has the model's columns; others are left alone.
            comma: whether numbers have a decimal comma where they do not show it.

        Raises:
            ValueError: a column is missing, or a value is not what the column held.
        """
        from thalweg.data.tables import encodable  # noqa: PLC0415 - loads PyArrow

        frame: Any = encodable(table, self.kinds, self.options, comma=comma, styles=self.styles)
        return self.encoder.transform(frame)

    def unseen(self, table: "pa.Table") -> dict[str, list[str]]:
        """Return the words of new rows that the model has not seen, by column.

        Args:
            table: as in ``features``.
        """
        from thalweg.data.tables import encodable  # noqa: PLC0415 - loads PyArrow

        frame: Any = encodable(
            table, dict.fromkeys(self.words, "category"), self.options, comma=False
        )
        new = {n: [w for w in frame[n].cat.categories if w not in self.words[n]] for n in frame}
        return {name: words for name, words in new.items() if words}

    def predict(self, table: "pa.Table", *, comma: bool = False) -> "pd.DataFrame":
        """Return a row for each: the prediction, and the probabilities of classes if there are any.

        Args:
            table: as in ``features``.
            comma: the same.
        """
        import pandas as pd  # noqa: PLC0415 - takes a second to load

        X = self.features(table, comma=comma)
        found = self.estimator.predict(X)
        if self.classes is None:
            return pd.DataFrame({self.target: found})
        answers = {self.target: np.array(self.classes, object)[found]}
        if hasattr(self.estimator, "predict_proba"):
            shares = self.estimator.predict_proba(X).T
            answers |= {
                f"{self.target} is {name}": share
                for name, share in zip(self.classes, shares, strict=True)
            }
        return pd.DataFrame(answers)


def load(path: str | os.PathLike[str]) -> Saved:
    """Read a model. It is a pickle: whoever wrote it may run code here, so load your own alone.

    Raises:
        ValueError: the file is not such a model, or of another version of scikit-learn.
        OSError: it cannot be read.
    """
    content = b"" if Path(path).is_dir() else Path(path).read_bytes()
    if not content.startswith(MARK):
        raise ValueError(f"{path} is no model of thalweg fit; give the .model file that it wrote")
    try:
        found = pickle.loads(content[len(MARK) :])  # noqa: S301 - as the docstring says
    except Exception as error:  # noqa: BLE001 - a pickle fails in many ways
        raise ValueError(f"{path} is broken or of other versions ({error}); fit it again") from None
    if not isinstance(found, Saved) or found.version != sklearn.__version__:
        raise ValueError(f"{path} was made with another version of scikit-learn; fit it again")
    return found
