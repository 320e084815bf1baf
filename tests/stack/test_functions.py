"""What stands for torch's functions in lanes does what they do."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.stack.functions import LaneFunctions


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout(0.3), (40, 50)),
        (nn.Dropout2d(0.3), (40, 50, 3, 3)),
        (nn.Dropout1d(0.3), (40, 50, 4)),
        (nn.Dropout1d(0.3), (2000, 4)),
        (nn.Dropout3d(0.3), (2000, 2, 2, 2)),
    ],
    ids=["elements", "channels of images", "of sequences", "of one sequence", "of one volume"],
)  # fmt: skip
def test_dropout_keeps_its_share_and_scales_it(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)

    def drawn(seed: int, step: int) -> tuple[Tensor, Tensor]:
        with LaneFunctions(torch.tensor(seed), torch.tensor(step)):
            return layer(x), layer(x)

    first, second = drawn(1, 1)
    for mask in (first, second):
        torch.testing.assert_close(torch.unique(mask), torch.tensor([0.0, 1 / 0.7]))
        kept = (mask > 0).double()
        assert kept.mean().item() == pytest.approx(0.7, abs=5 * (0.21 / 2000) ** 0.5)
        if not isinstance(layer, nn.Dropout):  # whole channels
            assert torch.equal(kept.reshape(2000, -1).var(-1), torch.zeros(2000).double())
    others = [second, *drawn(1, 2), *drawn(2, 1)]
    for a, b in itertools.combinations([first, *others], 2):
        together = ((a > 0) & (b > 0)).double().mean().item()  # independent of each other
        assert together == pytest.approx(0.49, abs=5 * (0.25 / 2000) ** 0.5)
    assert torch.equal(first, drawn(1, 1)[0])
    assert torch.equal(layer.eval()(x), x)
    layer.train()


@pytest.mark.parametrize("given", [
    {}, {"is_causal": True}, {"attn_mask": "bool"}, {"attn_mask": "float"}, {"scale": 0.7},
    {"attn_mask": "nothing to attend to"}, {"attn_mask": "the same in numbers"},
    {"enable_gqa": True},
], ids=str)  # fmt: skip
def test_attention_is_torchs(given: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64, generator=generator)
    mask = torch.rand(5, 5, generator=generator) > 0.5
    masks = {"bool": mask | torch.eye(5, dtype=torch.bool), "float": mask.double()}
    mask[3] = False
    masks["nothing to attend to"] = mask
    masks["the same in numbers"] = torch.zeros(5, 5).double().masked_fill(~mask, -torch.inf)
    given = {name: masks.get(value, value) for name, value in given.items()}
    q.requires_grad_()
    if "enable_gqa" in given:
        k, v = k[:, :2], v[:, :2]
    expected = functional.scaled_dot_product_attention(q, k, v, **given)
    with LaneFunctions(torch.tensor(0), torch.tensor(1)):
        found = functional.scaled_dot_product_attention(q, k, v, **given)
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad(outputs.square().sum(), q)[0] for outputs in (found, expected))
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("need_weights", [False, True])
def test_heads_drop_what_a_lane_draws(*, need_weights: bool) -> None:
    torch.manual_seed(0)
    heads = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = torch.randn(3, 5, 8)

    def drawn(seed: int) -> Tensor:
        with LaneFunctions(torch.tensor(seed), torch.tensor(1)):
            return heads(x, x, x, need_weights=need_weights)[0]  # type: ignore[no-any-return]

    state = torch.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.get_rng_state(), state)  # nothing of torch's own generator
    assert torch.equal(first, drawn(1))
    assert not torch.equal(first, drawn(2))
    assert not torch.equal(first, heads.eval()(x, x, x)[0])


def test_what_torch_refuses_of_dropout_and_attention_is_refused() -> None:
    x = torch.ones(2, 3, 4)
    mask = torch.ones(3, 3, dtype=torch.bool)
    with LaneFunctions(torch.tensor(0), torch.tensor(1)):
        for p in (1.5, -0.5):
            with pytest.raises(ValueError, match="has to be between 0 and 1, but got"):
                functional.dropout(x, p)
        with pytest.raises(RuntimeError, match="attn_mask must be None where is_causal=True"):
            functional.scaled_dot_product_attention(x, x, x, attn_mask=mask, is_causal=True)
