"""Tasks as people have them: graphs, torch's default dtype, models that start alike."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import thalweg  # noqa: E402
from thalweg import rules as registry  # noqa: E402
from thalweg.errors import TaskError  # noqa: E402
from thalweg.stack import TorchTask  # noqa: E402
from thalweg.tasks.modules import ModuleTask  # noqa: E402
from thalweg.tasks.source import load_task  # noqa: E402
from thalweg.tasks.task import Lane  # noqa: E402

NODES = 40
X = torch.randn(NODES, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def adjacency() -> Tensor:
    near = torch.rand(NODES, NODES, generator=torch.Generator().manual_seed(1)) < 0.1
    whole = (near | near.T).float() + torch.eye(NODES)
    return whole / whole.sum(1, keepdim=True)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": Tensor.to_sparse, "csr": Tensor.to_sparse_csr, "csc": Tensor.to_sparse_csc,
}  # fmt: skip


class Graph(nn.Module):
    """Two graph convolutions; the adjacency is a buffer, an attribute, or dense."""

    def __init__(self, near: Tensor, *, buffer: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        if buffer:
            self.register_buffer("near", near)
        else:
            self.near = near
        self.register_buffer("x", X)

    def forward(self, nodes: Tensor) -> Tensor:
        hidden = torch.relu(self.near @ self.first(self.x))
        return (self.near @ self.second(hidden))[nodes]


def losses(task: ModuleTask) -> list[float]:
    lane = Lane(registry.get("adam"), {**registry.get("adam").defaults, "lr": 0.01}, 3, 8, 3)
    curves: list[float] = task.run([lane], should_stop=lambda: False).train_loss[0].tolist()
    return curves


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support is in beta")
@pytest.mark.parametrize("buffer", [True, False], ids=["buffer", "attribute"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sparse_graph_trains_as_a_dense_one(layout: str, *, buffer: bool) -> None:
    def task(near: Tensor) -> ModuleTask:
        settings: dict[str, Any] = {
            "loss": functional.cross_entropy,
            "train": (torch.arange(NODES), Y),
        }
        made = ModuleTask(TorchTask(model=lambda: Graph(near, buffer=buffer), **settings), 0)
        made.lanes = 2
        return made

    dense, sparse = task(adjacency()), task(LAYOUTS[layout](adjacency()))
    assert losses(sparse) == pytest.approx(losses(dense), rel=1e-4)
    assert sparse.measure(8)["bytes"] > 0
    assert sparse.fingerprint() == task(LAYOUTS[layout](adjacency())).fingerprint()
    if layout != "coo":
        assert sparse.facts["stacked"].startswith("one training at a time: ")


def test_sparse_examples_are_refused_with_the_remedy() -> None:
    given: dict[str, Any] = {"model": lambda: nn.Linear(6, 3), "loss": functional.cross_entropy}
    with pytest.raises(
        TaskError, match=r"^train must be dense tensors, got a sparse_coo one: give "
    ):
        ModuleTask(TorchTask(train=(X.to_sparse(), Y), **given), 0)
    ModuleTask(TorchTask(train=(X.to_sparse().to_dense(), Y), **given), 0)


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_torchs_default_dtype_goes_with_a_task_into_another_process() -> None:
    task = ModuleTask(
        TorchTask(
            model=lambda: nn.Linear(6, 3), loss=functional.cross_entropy,
            train=(X.numpy(), Y.numpy()),
        ),
        0,
    )  # fmt: skip
    task.lanes = 1
    expected, packed = losses(task), cloudpickle.dumps(task)
    assert task.facts["dtype"] == "float64"
    torch.set_default_dtype(torch.float32)  # as a new process has it
    assert losses(cloudpickle.loads(packed)) == expected


def test_a_task_whose_file_needs_torch_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train_net.py").write_text("import math\nimport torch\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(
        TaskError, match=r"train_net\.py:2: .*torch.*; pip install 'thalweg\[torch\]'$"
    ):
        load_task(str(tmp_path / "train_net.py"))


SHARED = nn.Linear(6, 3)


def seeds_itself() -> nn.Module:
    torch.manual_seed(42)
    return nn.Linear(6, 3)


def loaded() -> nn.Module:
    net = nn.Linear(6, 3)
    net.load_state_dict(SHARED.state_dict())
    return net


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda: SHARED, "model() returns one module again and again; build it within model()"),
        (seeds_itself, "model() makes the same weights under every seed; if they are not loaded, "),
        (loaded, "model() makes the same weights under every seed; if they are not loaded, "),
    ],
    ids=["shared", "seeded", "loaded"],
)  # fmt: skip
def test_no_new_starting_point_is_claimed_where_there_is_none(
    model: Callable[[], nn.Module], found: str
) -> None:
    given: dict[str, Any] = {"loss": functional.cross_entropy, "train": (X, Y)}
    task = ModuleTask(TorchTask(model=model, **given), 0)
    assert task.facts["start"].startswith(f"the same starting point: {found}")
    assert task.said == (f"every training starts at the same point: {task.facts['start'][25:]}",)
    other = ModuleTask(TorchTask(model=lambda: nn.Linear(6, 3), **given), 0)
    assert (other.facts["start"], other.said) == ("a new starting point", ())


@pytest.mark.usefixtures("short_targets")
def test_the_page_says_where_trainings_start(tmp_path: Path) -> None:
    task = TorchTask(model=lambda: SHARED, loss=functional.cross_entropy, train=(X, Y))
    terms: dict[str, Any] = {"trials": 4, "repeats": 2, "seeds": 2, "epochs": 1, "on": "threads"}
    thalweg.race(task, rules=["sgd"], out=tmp_path, **terms)
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert "fresh seeds (the same starting point: model()" in page
