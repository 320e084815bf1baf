"""
Not only the rate may be scheduled
==================================

Any hyperparameter may be a schedule. Here it is the memory β of momentum, and gradients have noise.
A long memory is fast, for it sums up many gradients, and hovers high, for it sums up their noise
too. A long memory that is dropped in the end is fast first, and then quiet.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, schedules, style

bowl = problems.quadratic(np.repeat([0.01, 1.0], 200), start=np.full(400, 10.0))
betas = {"0.9": 0.9, "0": 0.0, "0.9, then 0": schedules.piecewise_constant([0.9, 0.0], [300])}
traces = {
    name: descend(bowl, "momentum", lr=0.1, beta=beta, noise=0.3, steps=400)
    for name, beta in betas.items()
}

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, trace in traces.items():
        ax.semilogy(trace.f, label=f"β {name}")
    ax.set(xlabel="step", ylabel="f", title="momentum, lr 0.1, with noise")
    ax.legend()
plt.show()

end = {name: np.mean(trace.f[-50:]) for name, trace in traces.items()}
print({name: round(float(value), 2) for name, value in end.items()})
assert end["0.9, then 0"] < 0.7 * min(end["0.9"], end["0"])
