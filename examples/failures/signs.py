"""
What two curves tell
====================

Training and validation loss alone show much. Overfitting: the validation loss turns up while the
training loss goes on falling. Underfitting: both stay high. A bad split: the validation loss is far
above the training loss from the start, or far below it, for its examples come from elsewhere.
``thalweg doctor curves.csv`` reads such logs. The curves here are of small regressions by gradient
descent. What makes a loss stay high no curve can tell: for that the doctor needs the training.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import rules, style
from thalweg.doctor.curves import Curves, diagnose

random = np.random.default_rng(0)
d = 40
truth = random.standard_normal(d) / np.sqrt(d)


def draw(rows, noise, scale=1.0):
    """Draw examples of a linear model; those of another scale come from elsewhere."""
    X = random.standard_normal((rows, d))
    return scale * X, scale * (X @ truth + noise * random.standard_normal(rows))


cases = {  # training data, validation data, and how many of the features the model sees
    "overfitting": (draw(45, 1.0), draw(500, 1.0), d),
    "underfitting": (draw(400, 0.1), draw(500, 0.1), 10),
    "harder validation part": (draw(400, 0.3), draw(500, 0.3, scale=2.0), d),
    "easier validation part": (draw(400, 0.3), draw(500, 0.3, scale=0.5), d),
    "as it should be": (draw(4000, 0.3), draw(500, 0.3), d),
}
split = "validation_of_other_distribution"
causes = ["overfitting"], ["underfitting"], [split], [split], []

# %%
# The log is all that the doctor is given, with the loss of the best constant output.

epochs = np.arange(200.0)
with style.styled():
    picture, panels = plt.subplots(1, 5, figsize=(12, 3), sharey=True, layout="constrained")
    for ax, cause, (name, (train, held, seen)) in zip(panels, causes, cases.items(), strict=True):
        (X, y), (inputs, targets) = train, held
        w, training, validation = np.zeros(d), [], []
        for t in range(1, 201):
            w = rules.sgd(X.T @ (X @ w - y) / len(X) * (np.arange(d) < seen), w, t=t, lr=0.1)
            training.append(np.mean((X @ w - y) ** 2))
            validation.append(np.mean((inputs @ w - targets) ** 2))
        log = Curves(name, epochs, np.array(training), epochs, np.array(validation))
        found = [finding.cause for finding in diagnose(log, constant=float(np.var(y)))]
        print(f"{name}: the doctor finds {found}")
        assert found == cause
        ax.semilogy(training, label="training")
        ax.semilogy(validation, label="validation")
        ax.set(title=name, xlabel="epoch")
    panels[0].set_ylabel("loss")
    panels[0].legend()
plt.show()
