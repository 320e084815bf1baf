"""Workers: where a race's pieces of work run: threads, processes, a Ray or a Dask cluster."""

import importlib
import io
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, Protocol
from urllib.parse import urlsplit

from thalweg import checks
from thalweg.errors import TaskError, told, user_line
from thalweg.racing.protocol import Rules
from thalweg.racing.raced import Raced
from thalweg.racing.trial import FINAL, TIMING, Result, Trial
from thalweg.rule import Rule
from thalweg.tasks.task import Checkpoint, Lanes, Task
from thalweg.tasks.timing import TIMED, seconds
from thalweg.words import argument

__all__ = ["Piece", "Workers", "hired", "timed", "train"]

_TRIES = 5  # how often a piece of work is tried whose worker is lost
_GLANCE = 0.2  # seconds
_RING = 5.0  # seconds that a cluster has to take a call

# Libraries that start threads read these variables when they are loaded.
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "TORCHINDUCTOR_COMPILE_THREADS",
    ),
    "1",
)

Work = Callable[..., Any]
"""A function of what is raced and arguments that can be sent, and of ``should_stop`` by name."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A finished piece of work.

    Attributes:
        results: one per trial.
        checkpoints: by rule, the content of a checkpoint file, of the final with the lowest
            validation loss.
    """

    results: list[Result]
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)


def train(
    raced: Raced,
    unit: Sequence[Trial],
    *,
    keep: bool,
    epochs_ended: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> Piece:
    """Run a piece of work.

    Args:
        raced: what is trained.
        unit: trials of one repeat that may be trained together.
        keep: whether finals leave a checkpoint.
        epochs_ended: is told how many epochs were trained, now and then.
        should_stop: is asked now and then.

    Raises:
        TaskError: the user's own code failed.
        KeyboardInterrupt: ``should_stop()`` returned True.
    """
    try:
        task = raced.task.repeated(unit[0].repeat)
        lanes = task.run(raced.lanes(unit), should_stop=should_stop, epochs_ended=epochs_ended)
        final = unit[0].round == FINAL
        judged = list(zip(*lanes.judge(), strict=True)) if final else [()] * len(unit)
    except (TaskError, OSError):
        raise
    except Exception as error:
        if user_line(error):
            raise TaskError(told(error)) from error
        raise
    results = [
        Result(
            trial,
            int(lanes.diverged_at[i]),
            lanes.train_loss[:, i].astype(float),
            lanes.validation_loss[:, i].astype(float),
            *map(float, test),
        )
        for i, (trial, test) in enumerate(zip(unit, judged, strict=True))
    ]
    return Piece(results, _checkpoints(lanes, results) if final and keep else {})


def _checkpoints(lanes: Lanes, results: Sequence[Result]) -> dict[str, bytes]:
    ranked = sorted(range(len(results)), key=lambda lane: results[lane].loss)
    best = {results[lane].trial.rule: lane for lane in reversed(ranked)}
    contents = {rule: lanes.checkpoint(lane) for rule, lane in best.items()}
    return {rule: _saved(content) for rule, content in contents.items() if content is not None}


def _saved(content: Checkpoint) -> bytes:
    import torch  # noqa: PLC0415 - only who has such a task has it

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def timed(
    raced: Raced, unit: Sequence[Trial], *, runs: int = TIMED, should_stop: Callable[[], bool]
) -> float:
    """Return the seconds per epoch of a piece of work, the median of some runs."""
    alone = unit[0].round == TIMING
    lanes = raced.lanes(unit)
    return seconds(raced.task, lanes, should_stop=should_stop, alone=alone, runs=runs)


class _Executor(Protocol):
    """Somewhere to run pieces of work.

    Attributes:
        count: how many pieces run at the same time.
        lost: the errors with which a piece ends if its worker is lost.
    """

    count: int
    lost: tuple[type[BaseException], ...]

    def call(self, work: Work, *arguments: object, **settings: object) -> "Future[Any]":
        """Let a worker call ``work(raced, *arguments, **settings, should_stop=...)``."""

    def close(self) -> None:
        """Stop what still runs."""


@dataclass(frozen=True)
class _Asked:
    tag: Hashable
    call: Callable[[], Future[Any]]
    tries: int = 1


class Workers:
    """The workers of a race: they are asked for work, and give back results as they finish.

    Args:
        executor: what runs them.
        rules: of the race, by name.
    """

    def __init__(self, executor: _Executor, rules: Rules) -> None:
        self._executor = executor
        self.rules = rules
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._asked: dict[Future[Any], _Asked] = {}

    @property
    def count(self) -> int:
        """How many of them work at the same time."""
        return self._executor.count

    def submit(self, tag: Hashable, work: Work, *arguments: object, **settings: object) -> None:
        """Ask for ``work(raced, *arguments, **settings, should_stop=...)``."""
        self._call(_Asked(tag, partial(self._executor.call, work, *arguments, **settings)))

    def _call(self, asked: _Asked) -> None:
        future = asked.call()
        self._asked[future] = asked
        future.add_done_callback(self._finished.put)

    def next(self, waiting: Callable[[], None] = lambda: None) -> tuple[Any, Any]:
        """Wait for one that finishes; return its tag and value, or raise its error.

        Args:
            waiting: is called a few times a second until one finishes.

        Raises:
            TaskError: its worker was lost every time that it was tried.
        """
        while True:
            try:
                # A wait without end would also hold up a Ctrl-C that comes just before it.
                future = self._finished.get(timeout=_GLANCE)
            except queue.Empty:
                waiting()
                continue
            asked = self._asked.pop(future)
            try:
                value = future.result()
            except self._executor.lost as error:
                if asked.tries == _TRIES:
                    raise TaskError(
                        f"a worker was lost {asked.tries} times: {_line(error)} If "
                        "memory ran out, race with fewer workers or smaller batches"
                    ) from error
                self._call(replace(asked, tries=asked.tries + 1))
                continue
            if isinstance(value, BaseException):
                raise value
            return asked.tag, value


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".") + "."


@contextmanager
def hired(
    task: Task, on: str | None, count: int | None, rules: Mapping[str, Rule] | None = None
) -> Iterator[Workers]:
    """Let workers work on a task for as long as the context lasts.

    Args:
        task: what the workers train.
        on: ``"threads"``, ``"processes"``, ``"ray"`` or ``"dask"`` (on this machine), or the
            address of a cluster, such as ``"ray://head:10001"`` or ``"dask://scheduler:8786"``; by
            default what suits the task.
        count: of workers; one per processor by default. A cluster has its own; a task that needs
            processes has one thread.
        rules: that are raced, by name; the registered ones by default.

    Raises:
        ValueError: ``on`` is none of these, the count is below 1, or a Dask worker has several
            threads where a task needs processes.
        TypeError: the count is not whole.
        TaskError: the task cannot be sent.
        ImportError: Ray or Dask is not installed.

    Example:
        >>> from thalweg import data
        >>> from thalweg.tasks.linear import LinearTask
        >>> task = LinearTask(data.load("iris"), l2=0.0, seed=0)
        >>> with hired(task, None, 2) as workers:
        ...     workers.submit("the tag", lambda raced, x, should_stop: (raced.task.name, x), 7)
        ...     print(workers.next())
        ('the tag', ('iris', 7))
    """
    count = None if count is None else checks.count("workers", count)
    suited = "processes" if task.processes else "threads"
    name, address_follows, address = str(on or suited).partition("://")
    clusters = {"ray", "dask"} if address else set()
    if name not in (clusters if address_follows else _EXECUTORS):
        raise ValueError(
            "on must be threads, processes, ray, dask, ray://HOST:PORT or dask://HOST:PORT, "
            f"got {on!r}"
        )
    raced = Raced(task, Rules(rules or {}))
    executor = _EXECUTORS[name](raced, count or _processors(task), address)
    try:
        yield Workers(executor, raced.rules)
    finally:
        executor.close()


def _processors(task: Task) -> int:
    if task.facts.get("device", "cpu") != "cpu":
        return 1  # its lanes fill the device
    import joblib  # noqa: PLC0415 - slow to load, and only a race needs it

    return int(joblib.cpu_count())  # the processors that a container or an affinity leaves


class _Threads:
    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, raced: Raced, count: int, _: str) -> None:
        self.raced = raced
        self.count = 1 if raced.task.processes else count
        self.stop = threading.Event()
        self.executor = ThreadPoolExecutor(self.count)

    def call(self, work: Work, *arguments: object, **settings: object) -> "Future[Any]":
        return self.executor.submit(
            _alone, work, self.raced, *arguments, **settings, should_stop=self.stop.is_set
        )

    def close(self) -> None:
        self.stop.set()
        # Without waiting: an interrupt must not wait for a compilation, which cannot be
        # interrupted.
        self.executor.shutdown(wait=False, cancel_futures=True)


def _alone(work: Work, raced: Raced, *arguments: object, **settings: object) -> object:
    """Work on one thread, so that no number depends on how many workers there are."""
    if raced.task.processes and (torch := sys.modules.get("torch")):
        torch.set_num_threads(1)  # of this thread and of later ones
    return work(raced, *arguments, **settings)


def _remote(parcel: bytes, work: Work, *arguments: object, **settings: object) -> object:
    """Work in another process. An error is returned as a value, because Ray would wrap it."""
    from thalweg.racing.parcel import unpacked  # noqa: PLC0415 - threads need no cloudpickle

    try:
        return _alone(work, unpacked(parcel), *arguments, **settings, should_stop=lambda: False)
    except Exception as error:  # noqa: BLE001 - raised again in Workers.next
        error.add_note(traceback.format_exc())
        return error


def _packed(raced: Raced) -> bytes:
    from thalweg.racing.parcel import packed  # noqa: PLC0415 - the same

    return packed(raced)


_sent: list[bytes] = []  # what is raced, in a process that works


def _hire(parcel: bytes, employer: int) -> None:
    """Get a process ready. It ends when its parent has ended."""
    _sent[:] = [parcel]
    with suppress(ModuleNotFoundError):
        # torch makes tqdm's lock as it compiles; Python would report it as leaked at the end.
        importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())

    def watch() -> None:
        while os.getppid() == employer:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_process(work: Work, *arguments: object, **settings: object) -> object:
    return _remote(_sent[0], work, *arguments, **settings)


class _Processes:
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, raced: Raced, count: int, _: str) -> None:
        self.parcel, self.count = _packed(raced), count
        # All calls of loky come from one thread. A Ctrl-C reaches the main thread alone, and would
        # break loky's state halfway.
        self.hand = ThreadPoolExecutor(1)
        self.executor: Any = None

    def call(self, work: Work, *arguments: object, **settings: object) -> "Future[Any]":
        return self.hand.submit(
            self._call, partial(_in_process, work, *arguments, **settings)
        ).result()

    def _call(self, called: Callable[[], object]) -> "Future[Any]":
        from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415 - slow to load

        if self.executor is not None:
            with suppress(BrokenExecutor):  # a process was lost, and the others with it
                return self.executor.submit(called)  # type: ignore[no-any-return]
        self.executor = ProcessPoolExecutor(
            self.count, initializer=_hire, initargs=(self.parcel, os.getpid()), env=_ONE_THREAD
        )
        # A terminal sends Ctrl-C to all processes, but it is meant for the parent: they inherit the
        # mask of this thread. Python's tracker lets Ctrl-C through again as it starts, so it must
        # have started before.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return self.executor.submit(called)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.hand.submit(self._close).result()
        self.hand.shutdown(wait=False)

    def _close(self) -> None:
        if self.executor is not None:
            processes = self.executor._processes  # noqa: SLF001
            self.executor.shutdown(kill_workers=True)
            for process in list(processes.values()):
                # loky's manager fails (KeyError) where work came in the moment before.
                process.kill()


class _Ray:
    """A Ray cluster: the one at the address, else one of this machine's, for this race alone."""

    def __init__(self, raced: Raced, count: int, address: str) -> None:
        ray = _library("ray", "ray")
        self.ray = ray
        self.lost: tuple[type[BaseException], ...] = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
        )
        self.own = not ray.is_initialized()
        if self.own:
            where = {"address": f"ray://{address}"} if address else {"num_cpus": count}
            quiet = {} if address else {"include_dashboard": False, "logging_level": "ERROR"}
            with _reaching("ray", address):
                _dial(address)
                ray.init(**where, **quiet, log_to_driver=False)
        self.count = int(ray.cluster_resources()["CPU"])
        self.parcel = ray.put(_packed(raced))
        self.remote = ray.remote(max_retries=_TRIES)(_remote)
        self.asked: list[Any] = []

    def call(self, work: Work, *arguments: object, **settings: object) -> "Future[Any]":
        reference = self.remote.remote(self.parcel, work, *arguments, **settings)
        self.asked.append(reference)
        future: Future[Any] = reference.future()
        return future

    def close(self) -> None:
        for reference in self.asked:
            self.ray.cancel(reference, force=True)  # it does nothing to a finished one
        if self.own:
            self.ray.shutdown()


_ANY_SIZE = {"distributed.admin.large-graph-warning-threshold": "1 TiB"}  # a task contains its data


class _Dask:
    """A Dask cluster: the one at the address, else one of this machine's, for this race alone."""

    def __init__(self, raced: Raced, count: int, address: str) -> None:
        distributed = _library("distributed", "dask")
        self.lost: tuple[type[BaseException], ...] = (distributed.KilledWorker, CancelledError)
        self.cluster = (
            None
            if address
            else distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        )
        with _reaching("dask", address):
            self.client = distributed.Client(self.cluster or f"tcp://{address}")
        threads = self.client.nthreads().values()
        if raced.task.processes and (most := max(threads, default=1)) > 1:
            self.client.close()
            raise ValueError(
                f"workers at dask://{address} must have 1 thread each to train modules, got one "
                f"with {most}; start them with dask worker --nthreads 1"
            )
        self.count = sum(threads)
        # Computed, not scattered: Dask computes it again if it is lost with its workers.
        with importlib.import_module("dask").config.set(_ANY_SIZE):
            self.parcel = self.client.submit(bytes, _packed(raced))
        self.asked: set[Any] = set()  # Dask forgets what nobody holds

    def call(self, work: Work, *arguments: object, **settings: object) -> "Future[Any]":
        asked = self.client.submit(
            _remote, self.parcel, work, *arguments, **settings, pure=False, retries=_TRIES
        )
        self.asked.add(asked)
        future: Future[Any] = Future()
        # Not Dask's own executor: it fails where a worker is lost as its result is fetched.
        asked.add_done_callback(partial(self._hand_over, future))
        return future

    def _hand_over(self, future: "Future[Any]", asked: Any) -> None:  # noqa: ANN401 - Dask's
        try:
            future.set_result(asked.result())
        except BaseException as error:  # noqa: BLE001 - raised again in Workers.next
            future.set_exception(error)
        self.asked.discard(asked)

    def close(self) -> None:
        self.client.cancel(list(self.asked))
        self.client.close()
        if self.cluster:
            self.cluster.close()


def _dial(address: str) -> None:
    """Raise OSError or ValueError where nobody listens: Ray itself would wait for half a minute."""
    if address:
        where = urlsplit(f"ray://{address}")
        if where.port is None:
            raise ValueError("it has no port")
        socket.create_connection((where.hostname or "", where.port), _RING).close()


@contextmanager
def _reaching(name: str, address: str) -> Iterator[None]:
    """Say in one sentence that no cluster answers at an address."""
    try:
        yield
    except (OSError, ValueError) as error:
        if not address:
            raise
        raise ValueError(
            f"no cluster answers {argument('on', f'{name}://{address}')} "
            f"({_line(error).rstrip('.')}); give the HOST:PORT of one that runs, or "
            f"{argument('on', name)}, which begins one on this machine"
        ) from error


def _library(name: str, extra: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"on={extra!r} needs it: pip install 'thalweg[{extra}]'", name=name
        ) from error


_EXECUTORS: Mapping[str, Callable[[Raced, int, str], _Executor]] = {
    "threads": _Threads,
    "processes": _Processes,
    "ray": _Ray,
    "dask": _Dask,
}
