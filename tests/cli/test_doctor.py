import html
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

from thalweg.cli import main
from thalweg.cli.findings import failing
from thalweg.words import digits

TASKS = """
import torch
from torch import nn

import thalweg

X = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
y = (X.sum(1) > 0).long()
data = torch.utils.data.TensorDataset(X, y)
train, held = torch.utils.data.random_split(data, [96, 32])
loader = torch.utils.data.DataLoader(train, 32, shuffle=True)


def net(*last):
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), *last)


def task():
    return thalweg.TorchTask(model=net, loss=nn.functional.cross_entropy, train=(X, y))


def twice():
    return thalweg.TorchTask(
        model=lambda: net(nn.Softmax(1)), loss=nn.functional.cross_entropy, train=(X, y)
    )


def parts():
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "optimizer": optimizer, "loss_fn": nn.CrossEntropyLoss(),
            "loader": loader, "val_loader": torch.utils.data.DataLoader(held, 32)}


def several():
    return tuple(parts().values())


def own_step():
    loss = nn.CrossEntropyLoss()
    step = lambda model, batch: loss(model(batch[0]), batch[1])
    return {**parts(), "loss_fn": None, "step": step}


def number():
    return 3


def misspelt():
    return {**parts(), "lodaer": 1}


def switched():
    return parts()["model"], parts()["loader"], "mse", parts()["optimizer"]


class Lit:  # as a module of Lightning without data
    configure_optimizers = training_step = None


def half():
    return {"model": net()}


def empty():
    return {**parts(), "loader": []}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, a, b):
        return self.out(torch.cat([a, b], 1))


def described(**given):
    X = torch.randn(90, 6)
    train = (X[:, :2], X[:, 2:]), X[:, :3].argmax(1)
    known = {"model": Two, "loss": nn.functional.cross_entropy, "train": train}
    return thalweg.TorchTask(**{**known, **given})


def unmeaned():
    return described(loss=nn.CrossEntropyLoss(reduction="none"))


def turned():
    return described(loss=lambda y, out: nn.functional.cross_entropy(out, y))


def untold():
    pass


def waiting():
    return described(model=lambda: nn.LazyLinear(3))


def nothing():
    return described(model=nn.Identity)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(TASKS, encoding="utf-8")
    n = np.arange(60)
    train, held = np.exp(-n / 9) + 0.01, np.exp(-n / 9) + 0.1
    for name, more in (("good", 0), ("bad", 0.01)):
        rows = zip(
            n, train + 0.09 * (name == "good"), held + more * np.maximum(0, n - 20), strict=True
        )
        text = "".join("{},{:.5f},{:.5f}\n".format(*row) for row in rows)
        Path(f"{name}.csv").write_text("epoch,loss,val_loss\n" + text, encoding="utf-8")


def run(command: str, capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    code = main(command.split())
    said = capsys.readouterr()
    return SimpleNamespace(code=code, out=said.out, lines=said.out.splitlines(), err=said.err)


def test_the_first_finding_has_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    got = run("doctor bad.csv", capsys)
    assert got.code == 1
    assert got.lines[0] == "read: train loss from loss, validation loss from val_loss"
    what, why, cure = got.lines[1:4]
    assert what.startswith("problem: overfitting from epoch 2")
    assert why.startswith("why:  least validation loss 0.2")
    assert "the line: it ends" in why
    assert cure.startswith("cure: Stop earlier")


def test_healthy_curves_are_one_line_and_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    got = run("doctor good.csv", capsys)
    assert got.code == 0
    assert got.lines[1].startswith("nothing found; looked at: training loss finite, ")
    assert len(got.lines) == 2
    assert "ruled out: overfitting: " in run("doctor good.csv -v", capsys).out


def test_findings_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    got = run("doctor bad.csv --json", capsys)
    assert got.code == 1
    assert json.loads(got.out)["findings"][0]["cause"] == "overfitting"


@pytest.mark.parametrize("name", ["task", "parts", "several", "own_step", "described"])
def test_check_finds_nothing_in_sound_trainings(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got = run(f"check train.py:{name}", capsys)
    assert (got.code, got.err) == (0, "")
    assert got.out.startswith("nothing found; looked at: ")


def test_check_and_doctor_find_a_softmax_that_is_applied_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("check train.py:twice", "doctor train.py:twice --steps 20"):
        got = run(command, capsys)
        assert got.code == 1
        assert got.out.startswith("problem: softmax_before_cross_entropy")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("doctor none.csv", "none.csv does not exist; give a log"),
        ("doctor good.csv --train nope", "--train nope: good.csv has no such column"),
        ("doctor good.csv --steps 3", "--steps is for a training, FILE.py:FUNCTION, and good.csv"),
        ("doctor train.py --constant 3", "--constant is for loss curves, and train.py is none"),
        ("doctor train.py --steps 0", "--steps must be an integer >= 1, got 0"),
        ("check good.csv", "a task must be FILE.py:function, got 'good.csv'"),
        ("check nope.py", "there is no file nope.py"),
        ("check train.py:number", "train.py:number must return a thalweg.TorchTask, or a dict"),
        (
            "check train.py:misspelt",
            "returns lodaer; leave out what is none of model, optimizer, lo",
        ),
        (
            "check train.py:switched",
            "got Sequential and DataLoader; a tuple is in the order model, opt",
        ),
        ("check train.py:Lit", "Lit has no train_dataloader(); return it with its DataModule"),
        ("check train.py:half", "train.py:half returns no optimizer"),
        ("check train.py:none", "train.py has no function 'none'"),
        ("check train.py:empty", "loader"),
        (
            "check train.py:unmeaned",
            "no step can be taken: the loss must be one number, got the sh",
        ),
        (
            "check train.py:turned",
            "; the loss is called as loss(outputs, targets), here with float",
        ),
        ("check train.py:untold", "got NoneType; end it with return"),
        ("check train.py:waiting", "model() must give every parameter its shape, but weight waits"),
        ("check train.py:nothing", "model has no parameters: there is nothing to train"),
        ("doctor train.py:empty", "the loader gives no batch"),
    ],
)
def test_what_cannot_be_looked_at_ends_in_a_sentence_and_code_2(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got = run(command, capsys)
    assert got.code == 2
    assert message in got.err
    assert got.err.count("\n") == 1


def test_cures_are_proved_and_a_page_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    got = run("doctor train.py:twice --steps 20 --prove --out page.html", capsys)
    assert got.code == 1
    what, why, cure = got.lines[:3]
    proof, page = got.lines[-2:]
    assert proof.startswith("proof: softmax_before_cross_entropy: with no softmax at the end, the ")
    assert page == "page: page.html"
    assert what.startswith("problem: softmax_before_cross_entropy. The 2 outputs")
    assert why.startswith("why:  ")
    assert cure.startswith("cure: ")
    text = Path("page.html").read_text(encoding="utf-8")
    assert "Does the cure work?" in text
    assert proof.removeprefix("proof: softmax_before_cross_entropy: ") in html.unescape(text)
    told = run("doctor train.py:twice --steps 20 --prove --json --out page.html", capsys)
    (cured,) = json.loads(told.out)["cures"]
    assert cured["cause"] == "softmax_before_cross_entropy"
    assert f"the loss goes from {digits(cured['before'])} to {digits(cured['after'])} (" in proof
    assert run("doctor bad.csv --out page.html", capsys).code == 1
    assert "overfitting" in Path("page.html").read_text(encoding="utf-8")
    Path("page.html").write_text("mine", encoding="utf-8")
    for command in ("doctor bad.csv --out page.html", "doctor train.py:twice --out page.html"):
        got = run(command, capsys)
        assert (got.code, Path("page.html").read_text("utf-8")) == (2, "mine")
        assert "page.html" in got.err


def test_a_file_that_cannot_be_read_is_named_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), failing():
        raise PermissionError(13, "Permission denied", "curves.csv")
    assert capsys.readouterr().err == "error: curves.csv: Permission denied\n"
