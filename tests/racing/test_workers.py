"""Where a race's pieces of work run changes none of its numbers, whatever happens to workers."""

import contextlib
import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest

from race_tasks import OWN_RULE
from racing.test_run import TERMS, _race
from racing_task import LeastSquares
from thalweg import kernels, race, rules
from thalweg import rule as registry
from thalweg.errors import TaskError, user_line
from thalweg.progress import Progress
from thalweg.racing.parcel import packed, unpacked
from thalweg.racing.protocol import Rules
from thalweg.racing.raced import Raced
from thalweg.racing.store import Store
from thalweg.racing.workers import hired
from thalweg.rule import Rule, rule
from thalweg.rules import get
from thalweg.tasks import timing
from thalweg.tasks.source import load_task
from thalweg.tasks.task import Lane

# Processes and their threads may end while they are looked at.
_ended = contextlib.suppress(FileNotFoundError, ProcessLookupError)


def _children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    found: list[int] = []
    with _ended:
        for task in Path(f"/proc/{parent}/task").iterdir():
            with _ended:
                found += map(int, (task / "children").read_text().split())
    return found


def _working(parent: int) -> list[int]:
    """Return those below it that take pieces of work: of loky, of Dask, of Ray."""
    found = []
    for pid in _children(parent):
        command = b""
        with _ended:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if any(word in command for word in (b"popen_loky", b"spawn_main", b"ray::_remote")):
            found.append(pid)
        found += _working(pid)
    return found


OWN = replace(TERMS, rules=("sgd", "signum"))


@pytest.fixture(scope="module")
def own_rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rule]:
    """Return the rules known after a user's file, which is there no more, as on another machine."""
    pytest.importorskip("torch")
    file = tmp_path_factory.mktemp("own") / "own_rule.py"
    file.write_text(OWN_RULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_rules", dict(registry._rules))
        load_task(str(file))
        file.unlink()
        return registry._rules


@pytest.fixture(scope="module")
def unbroken(own_rules: dict[str, Rule]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_rules", dict(own_rules))
        return _race(OWN)


@pytest.mark.parametrize(
    ("on", "library"), [("processes", "joblib"), ("ray", "ray"), ("dask", "distributed")]
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")  # theirs
def test_a_lost_worker_s_work_is_done_again(
    on: str,
    library: str,
    unbroken: Any,
    own_rules: dict[str, Rule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The race is also one of a user's own rule, without its file."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.setattr(registry, "_rules", dict(own_rules))
    killed: list[int] = []

    def kill(_: Progress) -> None:
        working = _working(os.getpid())
        if len(killed) < 2 and working and working[0] not in killed:
            killed.append(working[0])
            os.kill(killed[-1], signal.SIGKILL)

    assert _race(OWN, on=on, tell=kill) == unbroken
    assert killed
    assert _working(os.getpid()) == []


def test_a_user_s_own_rules_have_kernels_in_workers_without_their_file(
    own_rules: dict[str, Rule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_rules", dict(own_rules))

    def work(_: Any, should_stop: Any) -> tuple[str, Any]:
        return kernels.source("signum"), get("signum")(2.0, 1.0, 4.0, t=1, lr=0.5)

    with hired(LeastSquares(), "processes", 1) as held:
        held.submit(None, work)
        assert held.next()[1] == (kernels.source("signum"), (0.5, 3.5))


def test_a_worker_has_the_rules_of_the_race_that_it_works_for() -> None:
    def declared(factor: float) -> bytes:
        @rule("a test")
        def stretched(g: float, x: float, *, t: int, lr: float = 1.0) -> float:
            return x - factor * lr * g

        return packed(Raced(LeastSquares(), Rules()))

    parcels = {factor: declared(factor) for factor in (2.0, 3.0)}
    for factor in (2.0, 3.0, 2.0):  # races may take turns on a cluster
        unpacked(parcels[factor])
        assert get("stretched")(1.0, 0.0, t=1) == -factor
    assert get("stretched").resolve({}) == {"lr": 1.0}
    with pytest.raises(ValueError, match="lr must be > 0, got 0"):
        get("stretched").resolve({"lr": 0})


def redeclared(factor: float) -> Rule:
    @rule("a test")
    def redone(g: float, x: float, *, t: int, lr: float = 1e-2) -> float:
        return x - factor * lr * g

    return redone


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_a_rule_that_is_given_is_raced_whatever_has_its_name_by_now(on: str) -> None:
    """The old one is raced with the new one declared, and with none of that name."""
    old, new = redeclared(0.5), redeclared(-0.5)
    assert get("redone") is new

    def work(raced: Raced, should_stop: Any) -> tuple[float, float]:
        return raced.rules["redone"](1.0, 0.0, t=1, lr=1.0), get("redone")(1.0, 0.0, t=1, lr=1.0)

    with hired(LeastSquares(), on, 1, {"redone": old}) as held:
        held.submit(None, work)
        assert held.next()[1] == (-0.5, 0.5)


def test_a_race_of_a_rule_object_is_one_of_its_equation() -> None:
    terms: Any = {"epochs": 1, "trials": 4, "repeats": 2, "seeds": 2, "workers": 1}
    old = redeclared(0.5)
    expected = race("iris", rules=["redone"], **terms)
    redeclared(-0.5)
    by_name, by_object = (race("iris", rules=[given], **terms) for given in ("redone", old))
    loss = [found.record.rules[0].val_loss for found in (expected, by_object, by_name)]
    assert loss[0] == loss[1] != loss[2]
    registry._rules.pop("redone")
    assert race("iris", rules=[old], **terms).record.rules[0].val_loss == loss[0]
    assert by_object.rules["redone"] is old


def test_a_rule_is_copied_as_itself() -> None:
    old = redeclared(0.5)
    assert copy.deepcopy(old) is old
    redeclared(-0.5)
    assert copy.deepcopy(old)(1.0, 0.0, t=1, lr=1.0) == -0.5
    assert cloudpickle.loads(cloudpickle.dumps(old))(1.0, 0.0, t=1, lr=1.0) == -0.5


def test_dask_workers_of_several_threads_are_refused_for_modules_alone() -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    task, module = LeastSquares(), LeastSquares()
    module.processes = True
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, protocol="tcp://",
        dashboard_address="127.0.0.1:0", silence_logs=50,
    )  # fmt: skip
    with local as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        with hired(task, address, None) as held:
            assert held.count == 3
        sentence = f"workers at {address} must have 1 thread each .* with 3; .* --nthreads 1"
        with pytest.raises(ValueError, match=sentence), hired(module, address, None):
            pass


class Deadly(LeastSquares):
    def run(self, *_: Any, **__: Any) -> Any:
        os._exit(1)


def test_work_that_loses_every_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.racing.workers._TRIES", 2)
    with pytest.raises(TaskError, match=r"a worker was lost 2 times: .* with fewer workers"):
        _race(replace(TERMS, rules=("sgd",)), task=Deadly(), on="processes", workers=1)


def test_no_process_outlives_its_race_or_a_killed_parent() -> None:
    code = """
import os, sys
from racing_task import LeastSquares
from thalweg.racing.workers import hired

with hired(LeastSquares(), "processes", 2) as workers:
    for _ in range(2):
        workers.submit(None, lambda task, should_stop: os.getpid())
    print(workers.next()[1], flush=True)
    if sys.argv[1] == "killed":
        workers.submit(None, lambda task, should_stop: __import__("time").sleep(600))
        workers.next()
"""
    for end in ("ended", "killed"):
        with subprocess.Popen(
            [sys.executable, "-c", code, end], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE
        ) as parent:
            assert parent.stdout
            worker = int(parent.stdout.readline())
            if end == "killed":
                parent.kill()
        while Path(f"/proc/{worker}").exists():  # the suite's own limit ends a failure
            time.sleep(0.05)


# loky's own thread may just look for work that was taken back.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interrupt_does_not_wait_for_processes() -> None:
    class Endless(LeastSquares):
        def run(self, *_: Any, **__: Any) -> Any:
            if os.getpid() == min(_working(os.getppid())):
                os.kill(os.getppid(), signal.SIGINT)
            while True:
                time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        _race(task=Endless(), on="processes")
    assert _working(os.getpid()) == []


_ON_A_TERMINAL = """
from racing_task import LeastSquares
from thalweg.cli.terminal import no_interrupt_lost
from thalweg.racing.workers import hired

def work(task, should_stop):
    while True:
        pass

if __name__ == "__main__":
    with no_interrupt_lost(), hired(LeastSquares(), "processes", 2) as workers:
        for _ in range(2):
            workers.submit(None, work)
        print("hired", flush=True)
        workers.next()
"""


def test_processes_are_deaf_to_ctrl_c_from_their_start() -> None:
    def work(_: Any, should_stop: Any) -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())

    with hired(LeastSquares(), "processes", 2) as held:
        for _ in range(4):
            held.submit(None, work)
        assert all(held.next()[1] for _ in range(4))


def test_processes_do_not_answer_to_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL],
        cwd=Path(__file__).parents[1],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "hired\n"
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        _, err = parent.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert "popen_loky" not in err  # the parent's alone


def test_what_was_finished_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(LeastSquares):
        def run(self, lanes: Sequence[Lane], **terms: Any) -> Any:
            if lanes[0].rule.name == "adam" and not lanes[0].shared:  # when they are run again
                raise MemoryError
            return super().run(lanes, **terms)

    store = Store(tmp_path)
    with pytest.raises(TaskError, match=r"test_workers.py:\d+: MemoryError"):
        _race(task=Failing(), store=store, workers=1)
    with Store(tmp_path) as kept:
        assert len(kept.of("adam", "trial")) >= 30
    assert _race(store=Store(tmp_path)) == _race()


def test_a_task_that_cannot_travel_is_refused_in_a_sentence() -> None:
    task = LeastSquares()
    task.file = Path(__file__).open("rb")  # type: ignore[attr-defined] # noqa: SIM115
    with (
        task.file,  # type: ignore[attr-defined]
        pytest.raises(TaskError, match=r"least squares cannot be sent .* on='threads'"),
        hired(task, "processes", 1),
    ):
        pass


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_what_fails_in_the_user_s_own_code_is_told_with_its_line(on: str) -> None:
    class Failing(LeastSquares):
        def run(self, lanes: Sequence[Lane], **_: Any) -> Any:
            return np.ones(3).reshape(len(lanes), -1, 2)

    line = Failing.run.__code__.co_firstlineno + 1
    with pytest.raises(TaskError) as caught:
        _race(task=Failing(), on=on, workers=1)
    assert str(caught.value).startswith(
        f"tests/racing/{Path(__file__).name}:{line}: ValueError: cannot r"
    )


def test_an_error_of_thalweg_s_own_has_no_line_of_the_user_s() -> None:
    with pytest.raises(ValueError, match="unknown rule") as caught:
        rules.get("none")
    inner = caught.value.with_traceback(caught.tb.tb_next)  # without this test's own line
    assert user_line(inner) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "workers must be an integer >= 1, got 0"),
        ({"on": "cloud"}, "on must be threads, processes, ray, dask, .* got 'cloud'"),
        ({"on": "processes://x"}, "got 'processes://x'"),
        ({"on": "ray://"}, "got 'ray://'"),
        ({"on": 3}, "on must be threads, .* got 3"),
        ({"workers": 1.5}, "workers must be an integer >= 1, got 1.5"),
    ],
)
def test_places_that_do_not_exist(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        _race(**arguments)


@pytest.mark.parametrize(
    ("address", "why"), [("head", "it has no port"), ("127.0.0.1:1", ".*[Cc]onnection refused")]
)
def test_a_cluster_that_does_not_answer_is_named(
    address: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = dict.fromkeys(("WorkerCrashedError", "OutOfMemoryError", "ObjectLostError"), OSError)
    ray = SimpleNamespace(exceptions=SimpleNamespace(**lost), is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", ray)  # which would wait for half a minute
    said = (
        rf"no cluster answers on='ray://{address}' \({why}\); give the HOST:PORT of one that runs"
    )
    with pytest.raises(ValueError, match=said):
        _race(on=f"ray://{address}")


def test_an_epoch_is_timed_once_it_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Warming(LeastSquares):
        costs: tuple[float, ...]
        epochs: list[int]

        def run(self, lanes: Sequence[Lane], **_: Any) -> Any:
            clock[0] += self.costs[0] * lanes[0].epochs
            self.costs = self.costs[1:]
            self.epochs.append(lanes[0].epochs)

    lane = Lane(rules.sgd, {"lr": 0.1}, 0, 8, 5)
    for costs, expected, epochs in (
        ([30.0, 2.0], 2.0, [1, 1]),
        ([0.5, 0.2, 0.3, 0.1, 0.2], 0.2, [1, 1, 2, 2, 2]),  # runs of a third of a second
        ([0.5, 0.01, 0.03, 0.01, 0.02], 0.02, [1, 1, 5, 5, 5]),  # no longer than asked for
    ):
        task = Warming()
        task.costs, task.epochs = tuple(costs), []
        found = timing.seconds(task, [lane], should_stop=lambda: False)
        assert found == pytest.approx(expected)
        assert task.epochs == epochs
