"""Task files as users write them, small and each wrong in its own way, for the tests of races."""

SMALL = """
import torch
from torch import nn

import thalweg


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))


def task():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(120, 4, generator=generator)
    y = (X.sum(1) + 0.3 * torch.randn(120, generator=generator) > 0).long()
    return thalweg.TorchTask(
        model=net, loss=nn.functional.cross_entropy, train=(X, y), name="small"
    )
"""

# The same with a rule of its user's, which calls another one and a function, and has a constant.
OWN_RULE = (
    """
from thalweg.elementwise import sign
from thalweg.rule import rule

SHARE = 0.25


def mixed(g, m):
    return SHARE * g + (1 - SHARE) * m


@rule("Bernstein et al. 2018, Algorithm 1")
def signsgd(g, x, *, t, lr=1e-2):
    return x - lr * sign(g)


@rule("Bernstein et al. 2018, Algorithm 2")
def signum(g, x, m, *, t, lr=1e-2):
    m = mixed(g, m)
    return signsgd(m, x, t=t, lr=lr), m

"""
    + SMALL
)

# file, what is asked for, and the sentence; the line is that of the mistake
WRONG = {
    "syntax": ("def task(:\n", "wrong.py:1: invalid syntax"),
    "import": (
        "import nonsuch\n",
        "wrong.py:1: ModuleNotFoundError: No module named 'nonsuch'; install it for the Python ",
    ),
    "name": (
        "def other():\n    pass\n",
        "wrong.py has no function 'task'; it has other; write one that returns a TorchTask\n",
    ),
    "nearly": ("def tasks():\n    pass\n", "wrong.py has no function 'task'; did you mean tasks?"),
    "value": ("task = 3\n", "wrong.py has no function 'task'"),
    "exits": (
        "import argparse\nargparse.ArgumentParser().exit()\n",
        (
            "wrong.py:2 ends the program as the file is imported; what runs it as a program "
            'belongs under if __name__ == "__main__":\n'
        ),
    ),
    "ends": (
        "import sys\n\n\ndef task():\n    sys.exit()\n",
        "wrong.py:5 ends the program; task must return a thalweg.TorchTask\n",
    ),
    "returns": (
        "def task():\n    return 3\n",
        "wrong.py:task must return a thalweg.TorchTask, got int; write return thalweg.TorchTask(",
    ),
    "dict": (
        "def task():\n    return {'model': 1}\n",
        "wrong.py:task must return a thalweg.TorchTask, got dict; or return a dict with model",
    ),
    "generator": (
        "def task():\n    yield 3\n",
        "wrong.py:task must return a thalweg.TorchTask, got generator; write return in place of ",
    ),
    "relative": (
        "from .nets import Net\n",
        (
            "wrong.py:1: ImportError: attempted relative import with no known parent package; "
            "leave out the dot, for files beside it can be imported by their names\n"
        ),
    ),
    "raises": (
        "def task():\n    return 1 / 0\n",
        "wrong.py:2: ZeroDivisionError: division by zero",
    ),
    "argument": (
        "def task(x, y, seed=0, *more, **names):\n    pass\n",
        (
            "wrong.py:task is called without arguments, and needs x, y; give a default, or write a "
            "function that calls it\n"
        ),
    ),
    "no return": (
        "def task():\n    pass\n",
        "wrong.py:task must return a thalweg.TorchTask, got NoneType; end it with return\n",
    ),
    "by place": (
        SMALL.replace("model=net, loss=", "net, loss="),
        "wrong.py:16: TypeError: TorchTask takes its arguments by name: TorchTask(model=Net, ",
    ),
    "model's arguments": (
        SMALL.replace("model=net,", "model=nn.Linear,"),
        (
            "wrong.py:16: TypeError: model is called without arguments, and needs in_features, "
            "out_features; write model=lambda: Net(in_features=..., out_features=...)\n"
        ),
    ),
    "a file": (
        SMALL.replace("train=", "train='a.csv' or "),
        "wrong.py:16: TypeError: train must be examples, such as (X, y), got 'a.csv'; read the ",
    ),
    "forward": (
        SMALL.replace("def net():\n    return", "class Net(nn.Module):\n    def __init__(self):\n"
                      "        super().__init__()\n        self.layer = nn.Linear(4, 3)\n\n"
                      "    def forward(self, x):\n        return self.layer(x[:, :3])\n\n\n"
                      "def net():\n    return Net()\n    return"),
        (
            "wrong.py:14: RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x3 and 4x3); "
            "the model is called as model(inputs), here with float32 [8, 4]\n"
        ),
    ),
}  # fmt: skip
