"""
What two curves tell
====================

Training and validation loss alone show much. Overfitting: the validation loss turns up while the
training loss goes on falling. Underfitting: both stay high. Unlike parts: the validation loss is
far above from the start, as its data come from elsewhere. ``thalweg doctor curves.csv`` reads such
logs. The curves here are of small regressions by gradient descent. A sign is no cause: a loss that
stays high is called a plateau, and why it does so only the training can tell.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import rules, style
from thalweg.doctor.curves import Curves, diagnose

random = np.random.default_rng(0)
d = 40
truth = random.standard_normal(d) / np.sqrt(d)


def draw(rows, noise, shift=0.0):
    """Draw examples of a linear model; shifted ones follow other weights."""
    X = random.standard_normal((rows, d))
    return X, X @ (truth + shift) + noise * random.standard_normal(rows)


cases = {  # training data, validation data, and how many of the features the model sees
    "overfitting": (draw(45, 1.0), draw(500, 1.0), d),
    "underfitting": (draw(400, 0.1), draw(500, 0.1), 3),
    "unlike parts": (draw(400, 0.3), draw(500, 0.3, shift=0.3), d),
    "as it should be": (draw(4000, 0.3), draw(500, 0.3), d),
}
epochs = np.arange(200.0)
with style.styled():
    picture, panels = plt.subplots(1, 4, figsize=(11, 3), sharey=True, layout="constrained")
    for ax, (name, ((X, y), (held, targets), seen)) in zip(panels, cases.items(), strict=True):
        w, training, validation = np.zeros(d), [], []
        for t in range(1, 201):
            w = rules.sgd(X.T @ (X @ w - y) / len(X) * (np.arange(d) < seen), w, t=t, lr=0.1)
            training.append(np.mean((X @ w - y) ** 2))
            validation.append(np.mean((held @ w - targets) ** 2))
        log = Curves(name, epochs, np.array(training), epochs, np.array(validation))
        found = [finding.cause for finding in diagnose(log, constant=float(np.var(y)))]
        print(f"{name}: the doctor finds {found}")
        assert bool(found) == (name != "as it should be")
        ax.semilogy(training, label="training")
        ax.semilogy(validation, label="validation")
        ax.set(title=name, xlabel="epoch")
    panels[0].set_ylabel("loss")
    panels[0].legend()
plt.show()
