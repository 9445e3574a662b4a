"""Where a result comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Setting = str | float | bool | None | tuple[str, ...] | tuple[float, ...]

_PROVENANCE = ("name", "dataset", "sha256", "engine", "detector", "version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a result comes from: enough to make it again.

    Attributes:
        name: what the model is called: catalogue id, hub id or file.
        dataset: the head that was used.
        sha256: of the weights.
        engine: what ran the model, and where.
        detector: what found the boxes; empty when they were given.
        version: of this package.
        settings: what was chosen besides, as pairs of name and JSON value.
    """

    name: str = ""
    dataset: str = ""
    sha256: str = ""
    engine: str = ""
    detector: str = ""
    version: str = ""
    settings: tuple[tuple[str, Setting], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a result file."""
        plain = {field: getattr(self, field) for field in _PROVENANCE}
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in self.settings}
        return plain | {"settings": settings}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Provenance":
        """Read what ``to_dict`` wrote; fields of newer versions are ignored."""
        settings = tuple(
            (str(key), tuple(value) if isinstance(value, list) else value)
            for key, value in plain.get("settings", {}).items()
        )
        return cls(**{field: str(plain.get(field, "")) for field in _PROVENANCE}, settings=settings)
