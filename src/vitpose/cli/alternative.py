"""What to do when published weights are not to be had."""

import contextlib
from collections.abc import Iterator

from vitpose.core.errors import UsageError, WeightsError


@contextlib.contextmanager
def embedded_instead(model: str, dataset: str | None = None) -> Iterator[None]:
    """Name the model that comes with the package when a block cannot have published weights for the same keypoints.

    Args:
        model: name or place of the weights.
        dataset: the head that is wanted, if a certain one is.

    Raises:
        WeightsError: that of the block, with the alternative where there is one.
    """
    from vitpose.weights.catalog import find_model, is_on_disk

    try:
        yield
    except WeightsError as error:
        own = find_model("embedded")
        with contextlib.suppress(UsageError):  # a place, not a name
            row = find_model(model)
            same = bool(row.heads) and row.heads[0].skeleton == own.heads[0].skeleton and dataset in (None, "coco")
            if row != own and same and is_on_disk(own) is not None:
                raise WeightsError(
                    f"{error}; or take the small model that comes with the package: --model embedded"
                ) from error
        raise
