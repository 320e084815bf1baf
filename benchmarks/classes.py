"""The classes of thalweg.optim that are timed, and those of other libraries that do the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLASSES", "MODULES", "Entry"]

MODULES = {
    "pytorch_optimizer": "pytorch_optimizer",
    "torch-optimi": "optimi",
    "heavyball": "heavyball",
    "came-pytorch": "came_pytorch",
    "timm": "timm.optim",
    "torch": "torch.optim",
}


@dataclass(frozen=True)
class Entry:
    """A class of thalweg.optim with its options, and the classes of others that do the same.

    Other libraries than torch are given their own options; torch has its own class of that name
    and takes ours.
    """

    ours: str
    options: Mapping[str, Any] = field(default_factory=dict)
    peers: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)


HALF = {"kahan_sum": False}  # torch-optimi would do more in bfloat16 than the others
MOMENTUM, ADAM = {"momentum": 0.9}, {"betas": (0.9, 0.999), "eps": 1e-8}
OPTIMI_ADAM = {"torch-optimi": ("Adam", HALF | ADAM)}
CLASSES = {
    "SGD": Entry("SGD", {}, {"torch-optimi": ("SGD", HALF)}),
    "SGD momentum": Entry(
        "SGD",
        MOMENTUM,
        {"torch-optimi": ("SGD", HALF | MOMENTUM), "heavyball": ("SGD", {"beta": 0.9})},
    ),
    "SGD nesterov": Entry("SGD", MOMENTUM | {"nesterov": True}),
    "Adagrad": Entry("Adagrad"),
    "RMSprop": Entry("RMSprop"),
    "RMSprop centered": Entry("RMSprop", {"centered": True}),
    "RMSprop momentum": Entry("RMSprop", MOMENTUM),
    "Adadelta": Entry("Adadelta"),
    "Adam": Entry("Adam", {}, OPTIMI_ADAM),
    "Adam amsgrad": Entry("Adam", {"amsgrad": True}),
    "AdamW": Entry(
        "AdamW",
        {},
        {
            "torch-optimi": ("AdamW", HALF | ADAM | {"weight_decay": 0.01}),
            "heavyball": ("AdamW", ADAM | {"weight_decay": 0.01}),
        },
    ),
    "Adamax": Entry("Adamax", {}, {"pytorch_optimizer": ("AdaMax", {})}),
    "NAdam": Entry("NAdam", {}, {"heavyball": ("NAdam", {})}),
    "RAdam": Entry(
        "RAdam", {}, {"pytorch_optimizer": ("RAdam", {}), "torch-optimi": ("RAdam", HALF | ADAM)}
    ),
    "ASGD": Entry("ASGD"),
    "Rprop": Entry("Rprop"),
    "Yogi": Entry("Yogi", {}, {"pytorch_optimizer": ("Yogi", {})}),
    "AdaBelief": Entry("AdaBelief", {}, {"pytorch_optimizer": ("AdaBelief", {})}),
    "Lion": Entry("Lion", {}, {"pytorch_optimizer": ("Lion", {}), "torch-optimi": ("Lion", HALF)}),
    "Descent": Entry("Descent", {"rule": "averaged_momentum"}),
    # Left out is what differs from the paper, such as pytorch_optimizer's LAMB (docs/rules.md).
    "lamb": Entry("Descent", {"rule": "lamb"}, {"timm": ("lamb.Lamb", {"max_grad_norm": None})}),
    "mars": Entry(
        "Descent",
        {"rule": "mars"},
        {"timm": ("mars.Mars", {}), "pytorch_optimizer": ("MARS", {})},
    ),
    "came": Entry(
        "Descent",
        {"rule": "came"},
        {"came-pytorch": ("CAME", {}), "pytorch_optimizer": ("CAME", {})},
    ),
    "adafactor": Entry(
        "Descent",
        {"rule": "adafactor"},
        {
            "torch": ("Adafactor", {}),
            "timm": ("adafactor.Adafactor", {}),
            "pytorch_optimizer": ("AdaFactor", {}),
        },
    ),
}
