"""
A race, and whether its answer holds
====================================

Which rule has the lowest loss on data that it has not seen, if it is trained anew on data like
these? A race repeats the whole experiment, search and all, on other parts, and claims only what
luck does not explain. So a race with another seed, which draws other parts and other trials, must
not contradict it: what one race calls worse, another does not call the best.
"""

import matplotlib.pyplot as plt
import numpy as np

import thalweg
from thalweg import style

names = ["adam", "sgd", "rprop"]
few = {"trials": 40, "repeats": 5, "epochs": 5, "progress": False}
races = [thalweg.race("digits", rules=names, seed=seed, **few) for seed in (0, 1)]
print(races[1])

# %%
# What each rule costs beside the best one, whichever that is: typical, and from the least to the
# most that luck leaves open, with 95 % confidence.

with style.styled():
    picture, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    for seed, race in enumerate(races):
        prices = {row["rule"]: row["price"] for row in race.results["rules"]}
        for place, name in enumerate(names):
            low, typical, high = (
                100 * (prices[name][end] or 0) for end in ("low", "typical", "high")
            )
            color = (style.WINNER, style.TIE)[seed]
            ax.plot([low, high], 2 * [place + 0.2 * seed], "-", color=color)
            ax.plot(typical, place + 0.2 * seed, "os"[seed], color=color)
    ax.set_yticks(np.arange(3) + 0.1, names)
    ax.set(
        xlabel="worse than the best (%)",
        xscale="symlog",
        xlim=(-0.2, None),
        title="circles: seed 0, squares: seed 1",
    )
plt.show()

for race, other in (races, races[::-1]):
    worse = {row["rule"] for row in race.results["rules"] if row["state"] == "worse"}
    assert other.take not in worse
