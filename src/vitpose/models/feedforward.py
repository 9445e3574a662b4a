"""The feed-forward layer, dense or with experts (ViTPose+, Xu et al. 2024).

With experts only the second matrix is split: ``h = GELU(fc1(x))`` and most of the output, ``fc2(h)``, are shared, and
the last ``expert_width`` channels come from the expert of the sample's dataset. There is no router: the dataset
decides. Only the chosen expert is computed; a batch of several datasets is sorted by expert, so that each expert runs
once on its rows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.core.errors import UsageError
from vitpose.models.variants import BackboneSpec

Plan = int | Sequence[tuple[int, int]]
"""One expert for the whole batch, or (expert, rows) for consecutive rows of a sorted batch."""


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between them; the second may be split into a shared part and experts."""

    def __init__(self, width: int, hidden: int, experts: int = 0, expert_width: int = 0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width - expert_width)
        if experts:
            self.experts = nn.ModuleList(nn.Linear(hidden, expert_width) for _ in range(experts))

    @classmethod
    def of(cls, spec: BackboneSpec) -> "FeedForward":
        """Return the feed-forward layer of one block of a backbone."""
        return cls(spec.width, spec.hidden_width, spec.experts, spec.expert_width)

    def forward(self, tokens: Tensor, plan: Plan = 0) -> Tensor:
        """Map ``(batch, tokens, width)`` to the same shape; ``plan`` says which expert serves which rows."""
        hidden = F.gelu(self.fc1(tokens))
        shared: Tensor = self.fc2(hidden)
        if not hasattr(self, "experts"):
            return shared
        if isinstance(plan, int):
            return torch.cat([shared, self.experts[plan](hidden)], dim=-1)
        parts = torch.split(hidden, [rows for _, rows in plan])
        chosen = torch.cat([self.experts[expert](part) for (expert, _), part in zip(plan, parts, strict=True)])
        return torch.cat([shared, chosen], dim=-1)


def sort_by_expert(expert: Tensor, experts: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the order that puts samples of one expert side by side, and how many rows each used expert gets.

    Args:
        expert: ``(batch,)`` integer, the expert of each sample.
        experts: how many there are.

    Raises:
        UsageError: an expert that is not there.
    """
    if expert.ndim != 1 or expert.is_floating_point():
        raise UsageError(f"expert must be one whole number or one a sample, not {expert.dtype} {tuple(expert.shape)}")
    rows: dict[int, int] = {}
    for index in expert.tolist():
        rows[check_expert(index, experts)] = rows.get(index, 0) + 1
    return torch.argsort(expert, stable=True), sorted(rows.items())


def check_expert(expert: int, experts: int) -> int:
    """Return ``expert`` if the backbone has it; a dense backbone has number 0 only.

    Raises:
        UsageError: it has not.
    """
    if not 0 <= expert < max(experts, 1):
        raise UsageError(f"there is no expert {expert}: the backbone has {experts or 'no'} experts, counted from 0")
    return expert
