"""
How sensitive is the choice of the rate?
========================================

A rule whose loss is flat around its best rate is worth more than one that wins by a hair at one
rate alone. Each rule trains softmax regression on digits in 49 lanes, a rate each. The band is the
share of the decades of rates within which the loss stays near the best.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, style
from thalweg.linear import train

digits = data.split(data.load("digits"))
rates = np.geomspace(1e-5, 10, 49)
decades = {}
with style.styled():
    picture, ax = plt.subplots(figsize=(7, 4.8), layout="constrained")
    for rule in ("sgd", "momentum", "adagrad", "rmsprop", "adam", "lion"):
        losses = train(
            digits.train.X, digits.train.y, loss="softmax", rule=rule, epochs=10,
            lr=rates.tolist(), validation=(digits.validation.X, digits.validation.y),
        ).validation_loss[-1]  # fmt: skip
        near = losses <= 1.2 * np.nanmin(losses)
        decades[rule] = near.sum() * np.log10(rates[1] / rates[0])
        ax.loglog(rates, losses, label=f"{rule}: {decades[rule]:.1f} decades within 20 %")
    ax.set(xlabel="learning rate", ylabel="validation loss (nats)", ylim=(0.08, 5))
    picture.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
# Lion has the narrowest band: its steps have the length lr, however small the gradient is.

print({rule: round(float(value), 2) for rule, value in decades.items()})
assert min(decades, key=decades.get) == "lion"
