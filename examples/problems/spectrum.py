"""
A quadratic of any spectrum
===========================

½xᵀQx + cᵀx + b has its minimizer at −Q⁻¹c and its minimum at b − ½cᵀQ⁻¹c. Along the eigenvectors of
Q each coordinate evolves by itself, as (1 − ηλᵢ)ᵗ under gradient descent. With the eigenvalues 2⁻ⁱ
the first are gone in a few steps, and each further one takes twice as long.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, plots, problems, style

eigenvalues = 2.0 ** -np.arange(8)
problem = problems.quadratic(eigenvalues, linear=np.ones(8), offset=3.0)
np.testing.assert_allclose(problem.minimizer, -1 / eigenvalues)
np.testing.assert_allclose(problem.minimum, 3 - np.sum(1 / eigenvalues) / 2)

trace = descend(problem, "sgd", np.zeros(8), lr=1.0, steps=200)
distance = (trace.x - problem.minimizer) / (trace.x[0] - problem.minimizer)
expected = (1 - eigenvalues) ** np.arange(201)[:, None]
np.testing.assert_allclose(distance, expected, atol=1e-12)

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    plots.components(trace, ax=left)
    right.loglog(trace.f - problem.minimum)
    right.set(title="f above its minimum: no straight line", xlabel="step")
plt.show()

halved = [int(np.argmax(distance[:, i] < 0.5)) for i in range(2, 8)]
print(f"steps until a coordinate is half way: {halved}")
assert all(1.7 < later / earlier < 2.3 for earlier, later in pairwise(halved[1:]))
