"""Images in lanes, laid out as convolutions want them: the same numbers, in the order of memory."""

import pytest
import torch
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from thalweg.stack.layout import ChannelsLast


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_and_what_follows_keep_channels_of_all_lanes_together(channels: int) -> None:
    images = torch.randn(5, channels, 8, 6, dtype=torch.float64)
    filters = torch.randn(4, 2, channels, 3, 3, dtype=torch.float64)
    shift = torch.randn(4, 2, 1, 1, dtype=torch.float64)

    def layer(*given: torch.Tensor) -> torch.Tensor:
        images, filters, shift = given
        return (functional.conv2d(images, filters) + shift).tanh()

    def lanes(*given: torch.Tensor) -> torch.Tensor:
        with ChannelsLast():
            return vmap(layer, (None, 0, 0))(*given)

    found = lanes(images, filters, shift)
    torch.testing.assert_close(found, vmap(layer, (None, 0, 0))(images, filters, shift))
    # Lanes, examples, channels, rows, columns: in memory examples, rows, columns, lanes, channels.
    assert found.permute(1, 3, 4, 0, 2).is_contiguous()
    graph = make_fx(lanes, tracing_mode="fake")(images, filters, shift).graph
    single = [node for node in graph.nodes if node.name.startswith(("add", "tanh"))]
    assert len(single) == 2
    # What a compiler sees: each result in the order of its own dimensions.
    assert all(node.meta["val"].is_contiguous() for node in single)


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
