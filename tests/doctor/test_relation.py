"""Have pictures anything to do with the pictures that they stand beside?"""

import torch
from torch.nn import functional

from thalweg.doctor.relation import explained


def test_pictures_beside_those_of_others_explain_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    large = torch.rand(300, 1, 8, 8, generator=generator)
    small = functional.avg_pool2d(large, 2)
    own = explained([(small, large)])
    other = explained([(small.roll(1, 0), large)])
    assert own is not None
    assert own > 0.1  # the means of four say a quarter of the variance
    assert other is not None
    assert other < 0.02
