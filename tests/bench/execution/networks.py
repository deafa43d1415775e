"""The policies that are measured: a 64x64 network, and one that changes its mind with every quote."""

import torch

from bundles.features import DEFAULT_FEATURES

HIDDEN = 64


class Network(torch.nn.Module):
    """64x64 with the weights of a policy that has an opinion: it changes its mind now and then.

    `doubt` is added to the score of the middle action: the larger, the less it trades.
    """

    def __init__(self, size: int = DEFAULT_FEATURES.size, *, seed: int = 4, doubt: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        linears = (torch.nn.Linear(size, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, 3))
        self._shape(*linears, doubt)
        first, second, last = linears
        self.layers = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)

    @torch.no_grad()
    def _shape(self, _first: torch.nn.Linear, _second: torch.nn.Linear, last: torch.nn.Linear, doubt: float) -> None:
        last.bias[1] += doubt

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores: torch.Tensor = self.layers(observations)
        return scores.argmax(dim=1), scores


class Restless(Network):
    """The same amount of work, but long where the bid's queue is the larger one and short where the ask's is."""

    @torch.no_grad()
    def _shape(self, first: torch.nn.Linear, second: torch.nn.Linear, last: torch.nn.Linear, _doubt: float) -> None:
        for layer in (first, second, last):
            layer.weight.zero_()
            layer.bias.zero_()
        imbalance = DEFAULT_FEATURES.position_of("queue_imbalance")
        for action, sign in ((0, -1.0), (2, 1.0)):
            first.weight[action, imbalance] = sign
            second.weight[action, action] = last.weight[action, action] = 1.0
