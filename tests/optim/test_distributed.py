"""Two processes train as one alone does: DDP, FSDP2, tensor parallelism, sharded checkpoints."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, SequenceParallel, parallelize_module
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from optim_pairs import KINDS, ONE_EACH, Configuration, scalars_in
from thalweg import optim

Pair = Callable[..., list[Any]]
OURS = (Configuration("Lion", {"lr": 0.02}), Configuration("Descent", {"rule": "adabelief"}))
SEVERAL = (*KINDS, OURS[1])
several = pytest.mark.parametrize("configuration", SEVERAL, ids=lambda c: c.name)


def enter(place: Path, rank: int) -> None:
    """Make this process one of the group; who waits in vain for the other fails at last."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{place}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Return what runs a function in both processes of a group, and returns both results.

    What they step by is compiled here before, where it is not on disk: both would do it at once.
    """
    for configuration in ONE_EACH + OURS:
        model = network()
        train(model, configuration.ours(model.parameters()), 1, 1)
    place = tmp_path_factory.mktemp("group") / "meeting"
    spawn = get_context("spawn")
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, spawn, enter, (place, rank)))
            for rank in range(2)
        ]

        def both(function: Callable[..., Any], *given: Any) -> list[Any]:
            futures = [pool.submit(function, *given) for pool in pools]
            return [future.result(timeout=200) for future in futures]

        yield both
        both(dist.destroy_process_group)
        for pool in pools:  # an interpreter that ends as usual takes a second to do so
            pool.submit(os._exit, 0)


def network() -> nn.Sequential:
    """Return a model that no two processes can share evenly; one of its biases is one number."""
    torch.manual_seed(0)
    layers = nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 3), nn.Linear(3, 1)
    return nn.Sequential(*layers).double()


def fsdp(model: nn.Sequential, shape: tuple[int, ...]) -> nn.Module:
    names = ("replicate", "shard")[-len(shape) :]
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    for layer in model:
        if not isinstance(layer, nn.Tanh):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor_parallel(model: nn.Sequential) -> nn.Module:
    """Share out what is computed: gradients of the norm are parts of a sum; one layer is whole."""
    plan = {
        "0": ColwiseParallel(output_layouts=Shard(0)),
        "1": SequenceParallel(sequence_dim=0),
        "3": ColwiseParallel(input_layouts=Shard(0), output_layouts=Replicate()),
    }
    return parallelize_module(model, init_device_mesh("cpu", (2,)), plan)


WAYS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "DDP": DistributedDataParallel,
    "FSDP2": partial(fsdp, shape=(2,)),
    "replicas": partial(fsdp, shape=(2, 1)),
    "tensor parallel": tensor_parallel,
}


def rows(t: int, way: str) -> Tensor:
    """Return the rows of step t that this process takes."""
    x = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
    return x if way in {"alone", "tensor parallel"} else x[4 * dist.get_rank() :][:4]


def train(model: nn.Module, optimizer: Any, first: int, last: int, way: str = "alone") -> None:
    with scalars_in(torch.float64):
        for t in range(first, last + 1):
            optimizer.zero_grad()
            x = rows(t, way)
            mse_loss(model(x), x.prod(1, keepdim=True)).backward()
            optimizer.step()


def whole(model: nn.Module) -> list[float]:
    """Return all numbers of a model."""
    there = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return [number for p in there for number in p.flatten().tolist()]


def alone(configuration: Configuration, steps: int = 6, **more: Any) -> list[float]:
    """Train in one process, with torch's class where there is one."""
    model = network()
    theirs = hasattr(torch.optim, configuration.name) and not more
    build = configuration.theirs if theirs else configuration.ours
    train(model, build(model.parameters(), **more), 1, steps)
    return whole(model)


def assert_alike(found: list[list[float]], wanted: list[float], tolerance: float = 1e-10) -> None:
    for numbers in found:
        assert numbers == pytest.approx(wanted, rel=tolerance, abs=tolerance)
    assert found[0] == found[-1]


def shared(configuration: Configuration, way: str, more: dict[str, Any]) -> list[float]:
    """Train in two processes."""
    model = WAYS[way](network())
    train(model, configuration.ours(model.parameters(), **more), 1, 6, way)
    return whole(model)


@pytest.mark.parametrize(
    ("configuration", "way"),
    [(c, way) for way in WAYS for c in (ONE_EACH + OURS if way == "FSDP2" else SEVERAL)],
    ids=lambda given: getattr(given, "name", given),
)
def test_two_processes_train_as_one(pair: Pair, configuration: Configuration, way: str) -> None:
    assert_alike(pair(shared, configuration, way, {}), alone(configuration))


WHOLE = {"lamb": {}, "adafactor": {}, "prodigy": {}, "muon": {"otherwise": "adamw"}}


def of_whole_tensors(way: str) -> list[list[float]]:
    """Train by rules that look at whole tensors, matrices or the model; return each one's end."""
    found = []
    for rule, more in WHOLE.items():
        model = network() if way == "alone" else WAYS[way](network())
        optimizer = optim.Descent(model, rule, lr=0.02, report=None, **more)
        train(model, optimizer, 1, 3, way)
        found.append(whole(model))
        held = next(iter(optimizer.state.values())).get("m")
        assert held is None or isinstance(held, DTensor) == (way not in {"alone", "DDP"})
    return found


@pytest.mark.parametrize("way", WAYS)
def test_rules_of_whole_tensors_see_all_of_a_distributed_one(pair: Pair, way: str) -> None:
    wanted = of_whole_tensors("alone")
    for both in zip(*pair(of_whole_tensors, way), wanted, strict=True):
        assert_alike(list(both[:2]), both[2])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bound", [0.05, 1e6], ids=["below", "above"])
def test_the_norm_that_is_clipped_is_that_of_all_processes(
    pair: Pair, way: str, bound: float
) -> None:
    configuration, more = Configuration("Adam", {"lr": 0.02, "eps": 0.1}), {"clip_norm": bound}
    assert_alike(pair(shared, configuration, way, more), alone(configuration, **more))


def spoiled(way: str, kind: str) -> tuple[str, bool]:
    """Step with a gradient that is NaN in the second process; return the refusal, if one moved."""
    model = WAYS[way](network())
    optimizer = optim.SGD(model.parameters(), nonfinite=kind, lr=0.05)
    before = whole(model)
    mse_loss(model(rows(1, way)), torch.ones(1, dtype=torch.float64)).backward()
    bias = [p.grad for p in model.parameters()][1]
    own = bias.to_local() if isinstance(bias, DTensor) else bias
    if dist.get_rank() == 1 or way in {"DDP", "replicas"}:  # which have the same in both
        own[-1] = math.nan
    message = ""
    try:
        optimizer.step()
    except FloatingPointError as error:
        message = str(error)
    return message, whole(model) != before


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_that_is_not_finite_in_one_process_counts_in_all(pair: Pair, way: str) -> None:
    assert pair(spoiled, way, "skip") == [("", False)] * 2
    message = "the gradient of parameter 1 of group 0 is not finite; the step was not taken"
    assert pair(spoiled, way, "raise") == [(message, False)] * 2


def overflowing() -> tuple[float, list[float]]:
    """Train under a loss scale with an infinite loss in one process in step 2."""
    model = fsdp(network().float(), (2,))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    scaler = GradScaler("cpu", init_scale=8.0)
    for t in range(1, 4):
        optimizer.zero_grad()
        loss = model(rows(t, "FSDP2").float()).square().mean()
        worse = math.inf if t == 2 and dist.get_rank() == 1 else 1.0
        scaler.scale(loss * worse).backward()
        scaler.step(optimizer)
        scaler.update()
    return scaler.get_scale(), whole(model)


def test_an_overflow_in_one_process_is_skipped_in_all(pair: Pair) -> None:
    model = network().float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for t in (1, 3):
        optimizer.zero_grad()
        model(rows(t, "alone").float()).square().mean().backward()
        optimizer.step()
    found = pair(overflowing)
    assert [scale for scale, _ in found] == [4.0, 4.0]
    assert_alike([numbers for _, numbers in found], whole(model), 1e-5)


def released(way: str) -> list[float]:
    model = WAYS[way](network())
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    optimizer.attach(model)
    train(model, optimizer, 1, 6, way)
    assert all(p.grad is None for p in model.parameters())
    return whole(model)


def test_gradients_are_released_in_two_processes(pair: Pair) -> None:
    assert_alike(pair(released, "FSDP2"), alone(Configuration("Adam", {"lr": 0.02})))
    with pytest.raises(ValueError, match="attach and DistributedDataParallel do not go together"):
        pair(released, "DDP")


def released_in_vain() -> bool:
    """Release gradients of which one in the second process is NaN; return whether it moved."""
    model = fsdp(network(), (2,))
    before = whole(model)

    def spoil(p: Tensor) -> None:
        if dist.get_rank() == 1 and isinstance(p.grad, DTensor) and p.grad.to_local().numel():
            p.grad.to_local().view(-1)[0] = math.nan

    layer = model.get_submodule("0")
    for p in layer.parameters():
        p.register_post_accumulate_grad_hook(spoil)
    optim.SGD(layer.parameters(), lr=0.05, nonfinite="skip").attach(layer)
    mse_loss(model(rows(1, "FSDP2")), torch.ones(1, dtype=torch.float64)).backward()
    return whole(model) != before


def test_a_released_gradient_is_finite_in_all_processes_or_in_none(pair: Pair) -> None:
    assert pair(released_in_vain) == [False, False]


def in_parts(configuration: Configuration) -> list[float]:
    """Train with each process keeping the state of a part of the parameters (ZeRO, stage 1)."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # noqa: PLC0415 - warns at import

    model = DistributedDataParallel(network())
    kind = getattr(optim, configuration.name)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), kind, **configuration.options)
    train(model, optimizer, 1, 6, "DDP")
    return whole(model)


def test_the_state_may_lie_in_parts(pair: Pair) -> None:
    configuration = Configuration("NAdam", {"lr": 0.02})
    assert_alike(pair(in_parts, configuration), alone(configuration))


Build = Callable[[Any], Optimizer]


def saved(build: Build, folder: Path, way: str = "alone") -> None:
    """Train for three steps and save."""
    model = WAYS[way](network()) if way in WAYS else network()
    optimizer = build(model.parameters())
    train(model, optimizer, 1, 3, way)
    packed, state = get_state_dict(model, optimizer)
    both = {"model": packed, "optimizer": state}
    dcp.save(both, checkpoint_id=folder)


def loaded(build: Build, folder: Path, way: str = "alone") -> list[float]:
    """Load and train for three more steps."""
    model = WAYS[way](network()) if way in WAYS else network()
    optimizer = build(model.parameters())
    with scalars_in(torch.float64):  # torch loads into what it finds
        packed, state = get_state_dict(model, optimizer)
    both = {"model": packed, "optimizer": state}
    dcp.load(both, checkpoint_id=folder)
    set_state_dict(
        model, optimizer, model_state_dict=both["model"], optim_state_dict=both["optimizer"]
    )
    train(model, optimizer, 4, 6, way)
    return whole(model)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # that is the point
@several
def test_what_two_processes_saved_one_loads_and_the_other_way_round(
    pair: Pair, configuration: Configuration, tmp_path: Path
) -> None:
    build = configuration.ours
    pair(saved, build, tmp_path / "parts", "FSDP2")
    assert_alike([loaded(build, tmp_path / "parts")], alone(configuration))
    saved(build, tmp_path / "whole")
    assert_alike(pair(loaded, build, tmp_path / "whole", "FSDP2"), alone(configuration))


@pytest.mark.parametrize("configuration", ONE_EACH[:1] + ONE_EACH[4:5], ids=lambda c: c.name)
def test_checkpoints_in_parts_are_torchs(
    pair: Pair, configuration: Configuration, tmp_path: Path
) -> None:
    for first, second in (("ours", "theirs"), ("theirs", "ours")):
        pair(saved, getattr(configuration, first), tmp_path / first, "FSDP2")
        found = pair(loaded, getattr(configuration, second), tmp_path / first, "FSDP2")
        assert_alike(found, alone(configuration))


def gone_on(options: dict[str, Any], folder: Path, steps: range, *, first: bool) -> list[float]:
    """Train in bfloat16, with a step 4 before which the first saves in parts, the second loads."""
    model = fsdp(network().bfloat16(), (2,))
    optimizer = optim.AdamW(model.parameters(), lr=0.01, **options)
    for t in steps:
        if t == 4:
            packed, state = get_state_dict(model, optimizer)
            both = {"model": packed, "optimizer": state}
            (dcp.save if first else dcp.load)(both, checkpoint_id=folder)
        if t == 4 and not first:
            set_state_dict(model, optimizer, model_state_dict=packed, optim_state_dict=state)
        optimizer.zero_grad()
        model(rows(t, "FSDP2").bfloat16()).square().mean().backward()
        optimizer.step()
    return whole(model)


@pytest.mark.parametrize("options", [{"rounding": "kahan"}, {"betas": (0.0, 0.9)}], ids=str)
def test_what_options_keep_is_in_checkpoints_in_parts(
    pair: Pair, options: dict[str, Any], tmp_path: Path
) -> None:
    unbroken = pair(partial(gone_on, options, tmp_path, range(1, 7), first=True))
    assert pair(partial(gone_on, options, tmp_path, range(4, 7), first=False)) == unbroken


def gathered(configuration: Configuration) -> tuple[list[float], Any, list[float]]:
    """Train, gather the state in one process, give it back to both from there, train on."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model = fsdp(network(), (2,))
    optimizer = configuration.ours(model.parameters())
    train(model, optimizer, 1, 3, "FSDP2")
    state = get_optimizer_state_dict(model, optimizer, options=options)
    optimizer.zero_grad()  # else torch asks a new optimizer for no state
    fresh = configuration.ours(model.parameters())
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_optimizer_state_dict(model, fresh, deepcopy(state), options=options)
    then = whole(model)
    train(model, fresh, 4, 6, "FSDP2")
    return then, state, whole(model)


@several
def test_a_state_is_gathered_and_given_back(pair: Pair, configuration: Configuration) -> None:
    found = pair(gathered, configuration)
    assert_alike([after for *_, after in found], alone(configuration))
    assert found[1][1] == {}
    model = network()
    first, last = (configuration.ours(model.parameters()) for _ in range(2))
    train(model, first, 1, 3)
    assert_alike([found[0][0]], whole(model))
    first.zero_grad()
    set_optimizer_state_dict(model, last, found[0][1])
    train(model, last, 4, 6)
    assert_alike([whole(model)], alone(configuration))


@pytest.mark.parametrize(
    "more",
    [{}, {"weight_decay": 0.1, "independent_decay": True}, {"lr": lambda t: 0.1 / (1 + t)}],
    ids=["plain", "independent decay", "schedule"],
)
def test_a_state_that_is_asked_for_before_the_first_step_costs_none(more: dict[str, Any]) -> None:
    """torch has it made by a step at the rate 0 with gradients of 0, and counts that step."""
    model = network()
    before = whole(model)
    optimizer = optim.AdamW(model.parameters(), **more)
    group = dict(optimizer.param_groups[0])
    get_optimizer_state_dict(model, optimizer)
    assert whole(model) == before
    assert optimizer.param_groups[0] == group
