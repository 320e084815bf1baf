"""Images in lanes, laid out as convolutions want them: the same numbers, in the order of memory."""

import pytest
import torch
from torch.func import vmap
from torch.nn import functional

from thalweg.stack.layout import ChannelsLast


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_and_what_follows_keep_channels_of_all_lanes_together(channels: int) -> None:
    images = torch.randn(5, channels, 8, 6, dtype=torch.float64)
    filters = torch.randn(4, 2, channels, 3, 3, dtype=torch.float64)
    shift = torch.randn(4, 2, 1, 1, dtype=torch.float64)

    def layer(filters: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return (functional.conv2d(images, filters) + shift).tanh()

    with ChannelsLast():
        found = vmap(layer)(filters, shift)
    torch.testing.assert_close(found, vmap(layer)(filters, shift))
    # Lanes, examples, channels, rows, columns: in memory examples, rows, columns, lanes, channels.
    assert found.permute(1, 3, 4, 0, 2).is_contiguous()


def test_views_of_what_lies_otherwise_are_copied() -> None:
    images = torch.randn(5, 3, 8, 6)
    filters = torch.randn(2, 3, 3, 3)
    with ChannelsLast():
        found = functional.conv2d(images, filters).view(5, -1)
    torch.testing.assert_close(found, functional.conv2d(images, filters).flatten(1))


def test_a_copy_that_is_asked_to_be_contiguous_is() -> None:
    with ChannelsLast():
        found = torch.randn(2, 3, 4, 5).permute(0, 2, 3, 1).contiguous()
    assert found.is_contiguous()
