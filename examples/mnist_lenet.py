"""Which optimizer for LeNet on images of 28 x 28, and which batch size?

    thalweg race examples/mnist_lenet.py --rules adamw,momentum --batch-size 32,128 --epochs 4

The images are those of examples/lenet.py: MNIST's where the folder that THALWEG_DATA names has
them, else scikit-learn's digits, enlarged. ``task`` takes a Dataset as a user has it, and its last
fifth as the test part, so that nothing but the validation part is drawn.
"""

from lenet import lenet, load
from torch.nn import functional
from torch.utils.data import TensorDataset

import thalweg


def task(images: int | None = None) -> thalweg.TorchTask:
    """Return LeNet on so many images, all by default."""
    parts = load(images)
    return thalweg.TorchTask(
        model=lenet,
        loss=functional.cross_entropy,
        label_smoothing=0.05,
        train=TensorDataset(parts.images, parts.digits),
        validation=0.15,
        test=TensorDataset(parts.test_images, parts.test_digits),
        name="LeNet",
    )


if __name__ == "__main__":
    print(thalweg.race(task(400), rules=["adamw", "momentum"], trials=4, epochs=2, seeds=2))
