import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

import thalweg
from thalweg.doctor.curves import Curves, diagnose
from thalweg.doctor.page import write
from thalweg.doctor.pictures import image
from thalweg.doctor.proof import Hard
from thalweg.doctor.watched import Watched


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


def test_a_page_of_a_training_has_signals_layers_the_proof_and_the_hardest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 1, 6, 6)
    y = (x.sum((1, 2, 3)) > 0).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss_fn = nn.CrossEntropyLoss()
    doctor = thalweg.Doctor(model, optimizer, loss_fn, seconds=2)
    for _ in range(30):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    proof = doctor.prove(20)
    proof = replace(proof, hardest=(Hard(0, 3, 2.5, x[3], y[3]),))
    text = doctor.to_html(tmp_path / "doctor.html", proof).read_text(encoding="utf-8")
    assert "gradients not zeroed" in text
    for word in (
        "gradient", "its limit", "cosine", "1.weight", "rate / its limit", "gradient noise scale",
        "noise floor", "saturated values", "Does the cure work?", "as it was", "data:image/png",
    ):  # fmt: skip
        assert word in text, word
    assert text.count("<svg") == 6


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 8, 9), (8, 9)), ((7, 6), (7, 6)), ((3, 5, 5), (5, 5)), ((5, 6, 3), (5, 6))],
)
def test_an_image_is_a_picture_of_its_size(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    address = image(torch.rand(shape))
    assert address is not None
    png = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert imread(io.BytesIO(png)).shape[:2] == size


@pytest.mark.parametrize("shape", [(64,), (1,), (2, 8, 8), (3, 4)])
def test_what_is_no_image_has_no_picture(shape: tuple[int, ...]) -> None:
    assert image(torch.rand(shape)) is None
