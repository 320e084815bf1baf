"""Which parameters of a model a rule of matrices steps, and which another one, in one optimizer."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg import rules
from thalweg.optim import AdamW, Descent
from thalweg.optim.roles import roles_of


class Language(nn.Module):
    """A small transformer, with positions of its own, a recurrent layer and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.position_embed = nn.Parameter(torch.zeros(4, 8))
        self.mix = nn.Parameter(torch.ones(8, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16)
        self.memory = nn.LSTM(8, 8)
        self.head = nn.Linear(8, 11, bias=False)


IMAGES = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1),
    nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(1, 6),
)  # fmt: skip


def test_types_and_shapes_tell_who_is_hidden() -> None:
    roles = roles_of(Language())
    hidden = {name for name, role in roles.items() if role == "hidden"}
    assert hidden == {
        "mix", "block.self_attn.in_proj_weight", "block.self_attn.out_proj.weight",
        "block.linear1.weight", "block.linear2.weight", "memory.weight_ih_l0",
        "memory.weight_hh_l0",
    }  # fmt: skip
    assert roles["head.weight"] == "head"
    assert {roles["words.weight"], roles["position_embed"]} == {"embedding"}
    assert roles["block.norm1.weight"] == "vector"
    images = {name for name, role in roles_of(IMAGES).items() if role == "hidden"}
    assert images == {"0.weight", "3.weight", "5.weight"}  # no kernel of one channel, no row
    tied = Language()
    tied.head.weight = tied.words.weight
    assert roles_of(tied)["words.weight"] == "embedding"
    named = roles_of(Language(), {"head.*": "hidden", "memory.*": "vector"})
    assert (named["head.weight"], named["memory.weight_hh_l0"]) == ("hidden", "vector")


def steps(optimizer: Any, params: list[Tensor], first: int, last: int) -> None:
    for t in range(first, last + 1):
        drawn = torch.Generator().manual_seed(t)
        for p in params:
            p.grad = torch.randn(p.shape, generator=drawn, dtype=p.dtype)
        optimizer.step()


def test_one_optimizer_steps_as_two_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden matrices by Muon, each third of a fused one by itself, the rest by AdamW."""
    torch.manual_seed(0)
    model = Language().double()
    other = copy.deepcopy(model)
    optimizer = Descent(model, "muon", otherwise="adamw", lr=0.02)
    said = capsys.readouterr().out
    assert "muon steps hidden: mix, block.self_attn.in_proj_weight" in said
    assert "adamw steps head: head.weight" in said
    roles = roles_of(other)
    rest = [p for name, p in other.named_parameters() if roles[name] != "hidden"]
    adamw = AdamW(rest, lr=0.02, weight_decay=0.1)
    steps(optimizer, list(model.parameters()), 1, 2)
    muon, hyper = rules.get("muon"), rules.get("muon").resolve({"lr": 0.02})
    moments: dict[str, Any] = {}
    for t in (1, 2):
        drawn = torch.Generator().manual_seed(t)
        for name, p in other.named_parameters():
            p.grad = torch.randn(p.shape, generator=drawn, dtype=p.dtype)
            if roles[name] == "hidden":
                count = 3 if "in_proj" in name else 4 if "memory" in name else 1
                for i, (g, part) in enumerate(
                    zip(p.grad.chunk(count), p.chunk(count), strict=True)
                ):
                    state = moments.get(f"{name} {i}", {"m": 0.0})
                    moved, state = muon.advance(g, part.detach(), state, t=t, hyper=hyper)
                    moments[f"{name} {i}"] = state
                    part.data.copy_(moved)
        adamw.step()
    for p, wanted in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, wanted, rtol=1e-12, atol=1e-12)


def test_a_checkpoint_a_schedule_and_two_rates(tmp_path: Any) -> None:
    model = Language()
    options: dict[str, Any] = {"otherwise": {"rule": "adam", "lr": 1e-3}, "report": None}
    optimizer = Descent(model, "normuon", lr=0.02, **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    steps(optimizer, list(model.parameters()), 1, 2)
    schedule.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.0005}
    assert optimizer.param_groups[-1]["weight_decay"] == 0.0  # Adam's would be in its gradient
    torch.save(optimizer.state_dict(), tmp_path / "kept.pt")
    again = copy.deepcopy(model)
    other = Descent(again, "normuon", lr=0.02, **options)
    other.load_state_dict(torch.load(tmp_path / "kept.pt", weights_only=True))
    steps(optimizer, list(model.parameters()), 3, 4)
    steps(other, list(again.parameters()), 3, 4)
    for p, wanted in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"roles": {"head.weigth": "hidden"}}, "no parameter 'head.weigth'; did you mean head.w"),
        ({"roles": {"head.*": "body"}}, "a role must be one of hidden, .*, got 'body'"),
        ({"split": {"mix": 3}}, r"'mix' of shape \(8, 8\) is not 3 matrices of equal height"),
        ({"split": {"mix": 0}}, r"split\['mix'\] must be an integer >= 1, got 0"),
        ({"split": ["mix"]}, r"split must be a dict, such as .*, got \['mix'\]"),
        ({"roles": "hidden"}, r"roles must be a dict, such as .*, got 'hidden'"),
        (
            {"roles": {"*.bias": "hidden"}},
            r"no parameter 'block.*bias' of shape .*: roles=\{'block.*bias': 'vector'\} gives",
        ),
        ({"otherwise": "soap"}, "otherwise must be a rule that steps vectors, such as 'adamw'"),
        ({"eps": 0.1}, r"no hyperparameter 'eps'; .*otherwise=\{'rule': 'adamw', 'eps': 0.1\}"),
        ({"otherwise": None}, r"takes matrices and no parameter of shape"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    options = {"otherwise": "adamw", "report": pytest.fail} | given  # nothing is reported before
    with pytest.raises((ValueError, TypeError), match=message):
        Descent(Language(), "muon", **options)


def test_a_checkpoint_of_another_rule_for_the_rest_is_refused() -> None:
    made = [Descent(Language(), "muon", otherwise=o, report=None) for o in ("adamw", "lion")]
    with pytest.raises(
        ValueError, match="rule 'adamw'; this optimizer is Descent with rule 'lion'"
    ):
        made[1].load_state_dict(made[0].state_dict())


def test_a_model_without_hidden_matrices_is_refused_with_a_remedy() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"no parameter of the model is a hidden matrix.*roles="):
        Descent(model, "muon", otherwise="adamw", report=None)
    Descent(model, "muon", otherwise="adamw", report=None, roles={"weight": "hidden"})
    with pytest.raises(
        TypeError, match=r"otherwise needs the model itself, .*, got list as params"
    ):
        Descent(list(model.parameters()), "muon", otherwise="adamw")


def test_a_model_without_shapes_is_refused_before_it_has_run() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"^0.weight, .* have no shape yet, .*: run a batch thro"):
        Descent(model, "muon", otherwise="adamw", report=None)
    model(torch.ones(2, 3))
    assert Descent(model, "muon", otherwise="adamw", report=None).param_groups[0]["params"]
