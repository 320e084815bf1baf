"""
Train, choose, judge: three parts
=================================

The training part fits, the validation part chooses, the test part judges, once. The best validation
loss of many settings is too good to be true: part of it is luck, and luck does not come again on
new data. The more settings are tried, the more it flatters. A race judges on test rows that chose
nothing.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import style

random = np.random.default_rng(0)
rows, settings, repeats = 100, 256, 400

# %%
# Settings that are all equally good: each row's loss is 1 on average, whatever the setting. Whoever
# picks the setting with the lowest mean of 100 rows gets a number below 1, and gets 1 afterwards.

losses = random.exponential(size=(repeats, settings, rows)).mean(axis=2)
tried = 2 ** np.arange(9)
chosen = [losses[:, :n].min(axis=1).mean() for n in tried]
fresh = [random.exponential(size=(repeats, rows)).mean() for _ in tried]

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    ax.semilogx(tried, chosen, "o-", label="validation loss of the setting that was chosen")
    ax.semilogx(tried, fresh, "s--", label="its test loss")
    ax.set(xlabel="settings tried", ylabel="loss; each setting's is 1", ylim=(0.6, 1.1))
    ax.legend()
plt.show()

assert chosen[0] > 0.98
assert np.all(np.diff(chosen) < 0)
assert chosen[-1] < 0.8
np.testing.assert_allclose(fresh, 1, atol=0.03)
