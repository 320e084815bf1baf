"""What tests/test_cuda.py runs on a GPU, each function in a process of its own.

The other tests have Triton's interpreter in their process, which a GPU must not meet.
"""

import sys

import torch
from torch.amp import GradScaler

from optim_pairs import CONFIGURATIONS, PRECISIONS, assert_same, follow, new_parameters, scalars_in

DEVICE = "cuda"


def on_the_device(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [p.detach().to(DEVICE).requires_grad_() for p in new_parameters(dtype)]


def every_class_is_torchs() -> None:
    for configuration in CONFIGURATIONS:
        for dtype, tolerance in PRECISIONS:
            with scalars_in(dtype):
                ours = configuration.ours(on_the_device(dtype))
                theirs = configuration.theirs(on_the_device(dtype))
                for optimizer in (ours, theirs):
                    follow(optimizer, 1, 12)
            for number, state in theirs.state_dict()["state"].items():
                for key, value in ours.state_dict()["state"][number].items():
                    state[key] = state[key].to(value.device)  # torch counts on the host
            assert_same(ours, theirs, tolerance)


def a_loss_scale_is_taken_off() -> None:
    made = []
    for cls in ("ours", "theirs"):
        configuration = next(c for c in CONFIGURATIONS if c.name == "Adam")
        params = on_the_device(torch.float32)
        optimizer = getattr(configuration, cls)(params, fused=True)
        scaler = GradScaler(DEVICE, init_scale=1024.0, growth_interval=3)
        for t in range(1, 8):
            optimizer.zero_grad()
            loss = torch.stack([(p.sin() * (i + t)).sum() for i, p in enumerate(params)]).sum()
            scaler.scale(loss * (torch.inf if t == 3 else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
        made.append(params)
    for p, q in zip(*made, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def a_graph_replays_steps() -> None:
    from thalweg import optim  # noqa: PLC0415 - beside what uses it

    made = []
    for captured in (False, True):
        p = torch.linspace(1.0, 2.0, 5000, device=DEVICE).requires_grad_()
        optimizer = optim.NAdam([p], lr=0.01)

        def step(p: torch.Tensor = p, optimizer: optim.NAdam = optimizer) -> None:
            p.grad = p.detach().sin()
            optimizer.step()

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
        for _ in range(4):
            graph.replay() if captured else step()
        made.append(p.detach().clone())
    torch.testing.assert_close(made[0], made[1], rtol=0.0, atol=0.0)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
