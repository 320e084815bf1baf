"""A table with numbers of all sizes and words of all kinds, as files of each format hold it."""

import pandas as pd

FRAME = pd.DataFrame({
    "size": [0.5, -1.25, 1234.5, 12.0, 0.125, 7.75, 1e-3, 99.5, -3.5, 2.25, 4.5, 100.0],
    "rooms": [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8],
    "town": ["Köln", "Žatec", "two words", "a,b;c", 'say "so"', "x"] * 2,
    "price": [1.5 * i + 0.25 for i in range(12)],
})  # fmt: skip
