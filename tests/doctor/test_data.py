"""What the doctor's checks of data find, each asked alone."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.doctor.checks.data import tokens_differ, validation_differs
from thalweg.doctor.subject import Subject


def test_a_vocabulary_that_was_made_again_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.softmax(torch.randn(30, generator=generator), 0)
    x = 1 + torch.multinomial(shares, 8 * 800, replacement=True, generator=generator).view(800, 8)
    x[::3, 5:] = 0  # padding
    y = (x == x[0, 0]).sum(1).clamp(max=1)
    again = torch.cat([torch.zeros(1), 1 + torch.randperm(30, generator=generator)]).long()
    model = nn.Sequential(nn.Embedding(31, 4), nn.Flatten(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(DataLoader(TensorDataset(x[:480], y[:480]), 16))
    held_out = x[480:]
    padded = held_out.clone()
    padded[:, 3:] = 0
    for held, cause in (
        (held_out, None),
        (padded, None),
        (again[held_out], "validation_preprocessed_differently"),
        (5 + (held_out > 9).long(), "validation_of_other_distribution"),
    ):
        batches = [(part, torch.zeros(len(part)).long()) for part in held.split(20)]
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, batches)
        found = tokens_differ(subject)
        assert (found and found.cause) == cause


def test_channels_in_another_order_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    brightness = torch.rand(300, 3, 1, 1, generator=generator) + torch.tensor(
        [[[[0.3]], [[0.2]], [[0.0]]]]
    )
    x = brightness + 0.5 * torch.randn(300, 3, 6, 6, generator=generator)
    y = torch.arange(300) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:200].split(20), y[:200].split(20), strict=True))
    held = x[200:]
    for images, cause in (
        (held, None),
        (held.flip(1), "validation_preprocessed_differently"),
        (held + 0.1, None),  # brighter, in the same order
    ):
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, [(images, y[200:])])
        found = validation_differs(subject)
        assert (found and found.cause) == cause
