"""What a model keeps, and what it leaves as it was."""

import torch
from torch import Tensor, nn

from stack.nets import Attention, classes, in_lanes, make
from thalweg.stack import Examples, Model
from thalweg.stack.batch import leaves


def test_a_mode_is_without_subnormal_numbers_and_fused_attention_and_ends() -> None:
    def settings() -> tuple[bool, bool]:
        tiny = torch.tensor([1e-40]) * torch.ones(1)
        return bool(tiny), torch.backends.mha.get_fastpath_enabled()

    model, _ = make(classes("mlp"))
    for training in (True, False):
        with model.mode(training=training):
            assert settings() == (False, False)
        assert settings() == (True, True)


def test_one_start_is_kept_however_many_seeds_are_trained() -> None:
    training = in_lanes(classes("mlp"), "sgd", [{}] * 6, epochs=1, seeds=[3, 9, 7, 3, 9, 7])
    assert training.finals[0].stack.model.initial.cache_info().currsize == 1


def test_a_recurrent_network_trains_stacked_or_not() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(12, 4)
            self.memory = nn.LSTM(4, 5, batch_first=True)
            self.out = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.out(self.memory(self.tokens(x))[0][:, -1])
            return scores

    own = classes("transformer", torch.float32, model=Recurrent)
    model, _ = make(own)
    training = in_lanes(own, "adam", [{"lr": 0.01}] * 2, epochs=3, stacked=model.stacked)
    assert (training.train_loss[-1] < training.train_loss[0]).all()


def test_a_model_leaves_its_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    own = classes("transformer", torch.float32, model=lambda: Attention(0.5))
    Model(own, Examples.of(own).draw(0).train)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(tensor.grad_fn is None for tensor in leaves(own.train))
