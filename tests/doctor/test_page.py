import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.doctor.curves import Curves, diagnose
from thalweg.doctor.page import Watched, write


def overfitted(name: str = "log.csv") -> Watched:
    n = np.arange(60.0)
    held = np.exp(-n / 9) + 0.1 + 0.01 * np.maximum(0, n - 20)
    curves = Curves(name, n, np.exp(-n / 9) + 0.01, n, held, "epoch")
    return Watched(curves, diagnose(curves))


def test_a_page_has_the_findings_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    text = write(tmp_path / "doctor.html", overfitted()).read_text(encoding="utf-8")
    assert "The training loss falls, and the validation loss rises." in text
    assert "Stop earlier" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<svg") == 2
    assert not re.search(r"(?:src|href)=\"(?!#)|@import|url\((?!#)", text)


def test_a_name_is_shown_and_never_run(tmp_path: Path) -> None:
    text = write(tmp_path / "doctor.html", overfitted("<script>x</script>")).read_text("utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_page_replaces_pages_of_the_doctor_alone(tmp_path: Path) -> None:
    path = tmp_path / "doctor.html"
    write(path, overfitted())
    write(path, overfitted())
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"doctor\.html"):
        write(path, overfitted())
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_page_of_a_training_has_signals_layers_and_the_proof(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    y = (x.sum(1) > 0).long()
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss_fn = nn.CrossEntropyLoss()
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for _ in range(30):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    shares = doctor.signals.shares
    weight = model[0].weight
    assert weight.grad is not None
    assert len(shares) == len(doctor.signals.share_steps) >= 16
    assert len(shares[0]) == 4
    text = doctor.to_html(tmp_path / "doctor.html", doctor.prove(20)).read_text(encoding="utf-8")
    assert "gradients not zeroed" in text
    for word in ("gradient norm", "0.weight", "Does the cure work?", "as it was"):
        assert word in text
