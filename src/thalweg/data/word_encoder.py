"""WordEncoder: skrub's StringEncoder, which looks at each word once."""

from typing import Any

import pandas as pd
import skrub

__all__ = ["WordEncoder"]

_ROWS = 20_000  # to which it is fitted: more change its components little


class WordEncoder(skrub.StringEncoder):  # type: ignore[misc] # skrub has no types
    """skrub's StringEncoder of a column of categories; a word that comes again costs nothing.

    Its n-grams and components are fitted to the first 20,000 rows.
    """

    def fit_transform(self, X: "pd.Series[Any]", y: None = None) -> pd.DataFrame:
        """Fit, and return the features of each row."""
        super().fit_transform(X.iloc[:_ROWS], y)
        return self.transform(X)

    def transform(self, X: "pd.Series[Any]") -> pd.DataFrame:
        """Return the features of each row."""
        words = pd.Series(X.cat.categories.astype(str), name=X.name)
        return super().transform(words).take(X.cat.codes).set_axis(X.index, axis=0)
