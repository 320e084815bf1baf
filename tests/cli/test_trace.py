"""thalweg trace: what it prints and draws."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.output import said
from thalweg import cli, problems, style


def test_trace_prints_the_end_and_draws_the_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "path.png"
    words = f"trace momentum --problem bowl --lr 0.6 --beta 0.5 --out {picture}"
    assert cli.main(words.split()) == 0
    x, v = [-5.0, -2.0], [0.0, 0.0]  # the equations of the heavy ball on x₁² + 2x₂²
    for _ in range(20):
        for i, curvature in enumerate((2.0, 4.0)):
            v[i] = 0.5 * v[i] + curvature * x[i]
            x[i] -= 0.6 * v[i]
    out = capsys.readouterr().out
    assert f"x = ({x[0]:.6g}, {x[1]:.6g}), f = {x[0] ** 2 + 2 * x[1] ** 2:.6g} (from 33)" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_trace_gives_each_rule_its_own_hyperparameters(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "path.svg"
    words = f"trace --lr=0.1 sgd,momentum --beta 0.5 --start -1,2 --steps 3 --out {picture}"
    assert cli.main(words.split()) == 0
    out = capsys.readouterr().out
    assert "sgd (lr 0.1) on bowl, 3 steps" in out
    assert "momentum (lr 0.1, beta 0.5) on bowl, 3 steps" in out
    assert "(from 9)" in out


def test_trace_says_when_it_diverges(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "path.png"
    assert cli.main(["trace", "sgd", "--lr", "0.6", "--out", str(out)]) == 0
    assert "; f grew" in capsys.readouterr().out
    assert cli.main(["trace", "sgd", "--lr", "1e200", "--out", str(out)]) == 0
    assert "diverged, not finite from step" in capsys.readouterr().out


def test_trace_takes_second_order_methods_and_animates(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    still, moving = tmp_path / "a.png", tmp_path / "a.gif"
    words = f"trace newton,bfgs,lbfgs,sgd --problem rotated_bowl --lr 0.25 --steps 3 --out {still}"
    out = said(capsys, f"{words} --animate {moving}")
    # The error of damped Newton on a quadratic is (1 − lr)^k.
    x = [f"{0.75**3 * start:.6g}" for start in (-5, -2)]
    assert f"newton (lr 0.25, damping 0) on rotated_bowl, 3 steps:\n  x = ({', '.join(x)})" in out
    assert "bfgs (curvature 0.9)" in out
    assert "lbfgs (memory 10, curvature 0.9)" in out
    assert out.startswith(f"picture: {moving}\n")
    assert out.endswith(f"picture: {still}\n")
    with Image.open(moving) as frames:
        assert frames.n_frames == 4  # type: ignore[attr-defined] # of a GIF
    assert {each.name for each in tmp_path.iterdir()} == {"a.png", "a.gif"}


def test_trace_says_how_it_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = f"--out {tmp_path / 'a.png'}"
    converged = said(capsys, f"trace newton --problem bowl --tolerance 1e-6 {out}")
    assert ", 1 steps:" in converged
    assert "; converged" in converged
    indefinite = said(capsys, f"trace newton --problem saddle --steps 7 {out}")
    assert "the Hessian had a negative eigenvalue at 7 of the steps" in indefinite
    noisy = said(capsys, f"trace sgd --start=0,0 --noise 1 --lr 0.1 {out}")
    assert noisy.splitlines()[1].endswith("; f grew")  # to its floor: it does not diverge


def test_trace_tells_of_an_animation_though_the_picture_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a.png")

    monkeypatch.setattr(style, "save", full)
    moving, picture = tmp_path / "a.gif", tmp_path / "a.png"
    assert cli.main(f"trace sgd --steps 2 --animate {moving} --out {picture}".split()) == 1
    out, err = capsys.readouterr()
    assert moving.exists()
    assert out == f"picture: {moving}\n"
    assert err == "error: a.png: No space left on device\n"


def test_trace_names_a_start_of_another_size_as_it_was_typed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(f"trace sgd --start 1 --out {tmp_path / 'a.png'}".split()) == 2
    assert capsys.readouterr().err.startswith("error: --start must have shape (2,)")


def test_trace_draws_nothing_for_a_folder_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    moving, nowhere = tmp_path / "a.gif", tmp_path / "none" / "a.png"
    assert cli.main(f"trace sgd --steps 2 --animate {moving} --out {nowhere}".split()) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not moving.exists()


@pytest.mark.parametrize(
    "line",
    [
        "trace sgd --steps 1 --animate other.gif --out picture.png",
        "trace sgd --steps 1 --out picture.svg",
        "trace sgd --steps 1 --animate picture.gif --out other.png",
        "rates sgd --spectrum 1 --out picture.pdf",
        "schedule cosine --steps 9 --out picture.svg",
    ],
)
def test_a_picture_replaces_pictures_of_ours_and_no_other_file(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (picture,) = (Path(word) for word in line.split() if word.startswith("picture"))
    for _ in range(2):  # the second time in the place of the first
        said(capsys, line)
    if picture.suffix not in {".svg", ".pdf"}:
        with Image.open(picture) as seen:  # the mark leaves it what it is
            seen.load()
    made = picture.read_bytes()
    for name in (picture, Path("other.png"), Path("other.gif")):
        name.unlink(missing_ok=True)
    picture.write_bytes(b"the user's own")
    assert cli.main(line.split()) == 1
    out, err = capsys.readouterr()
    assert err == (
        f"error: {picture} is there already, and thalweg did not make it; remove it, or name "
        "another file\n"
    )
    assert "picture:" not in out
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"the user's own"]
    picture.unlink()
    said(capsys, line)
    assert len(picture.read_bytes()) == pytest.approx(len(made), rel=0.01)


def test_trace_draws_parts_of_a_sum(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = f"--out {tmp_path / 'a.png'}"
    words = f"trace sgd --problem reddi --lr 0.5 --steps 1 --batch-size 1 {out}"
    first = said(capsys, f"{words} --sampling sequential")
    part = problems.get("reddi").parts[0]
    x = np.clip(0 - 0.5 * part.gradient(np.zeros(1)), -1, 1).item()
    assert f"x = ({x:.6g})" in first
