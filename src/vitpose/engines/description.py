"""What an exported file says about itself, so that it can be run without the model it was made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from vitpose._version import __version__
from vitpose.codec.codec import Codec
from vitpose.core.errors import WeightsError
from vitpose.core.skeleton import Skeleton
from vitpose.models.variants import HeadSpec, ModelSpec

SCHEMA: Final = "vitpose-export"
VERSION: Final = 1
ENTRY: Final = "vitpose"
"""Name of the entry among a file's properties that holds the description as JSON."""

CROPS, HEATMAPS, KEYPOINTS, SCORES = "crops", "heatmaps", "keypoints", "scores"
"""Names of a file's input and outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an exported file holds.

    Attributes:
        spec: the model, dense and with one head.
        skeleton: what its keypoints are called.
        codec: how its heatmaps are read; in an end-to-end file the graph does it.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        end_to_end: the file also gives keypoints in crop pixels and scores.
        source: digest of the weights it was made from.
        rest: of an int8 file, the precision of what is not int8: ``bf16`` (fp32 where the CPU has none) or ``fp32``.
        kept: of an int8 file, the matrix products and convolutions in higher precision: those that hurt, and the
            products inside attention, which are never quantised.
        written_by: package and version.
        calibration: what the checkpoint's metadata say about the head's scores; None where they say nothing.
    """

    spec: ModelSpec
    skeleton: Skeleton
    codec: Codec
    precision: str = "fp32"
    end_to_end: bool = False
    source: str = ""
    rest: Literal["bf16", "fp32"] = "bf16"
    kept: tuple[str, ...] = ()
    written_by: str = f"vitpose {__version__}"
    calibration: Mapping[str, Any] | None = None

    @property
    def head(self) -> HeadSpec:
        """The only head."""
        return self.spec.heads[0]

    def to_json(self) -> str:
        """Return the text that ``from_json`` reads."""
        plain: dict[str, Any] = {
            "schema": SCHEMA,
            "version": VERSION,
            "written_by": self.written_by,
            "spec": self.spec.to_dict(),
            "skeleton": self.skeleton.to_dict(),
            "codec": {
                "convention": self.codec.convention,
                "sigma": self.codec.sigma,
                "decode_sigma": self.codec.decode_sigma,
            },
            "precision": self.precision,
            "end_to_end": self.end_to_end,
            "source": self.source,
            "rest": self.rest,
            "kept": list(self.kept),
        }
        if self.calibration is not None:
            plain["calibration"] = dict(self.calibration)
        return json.dumps(plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None, where: str) -> "Description":
        """Read a description.

        Args:
            text: what ``to_json`` gave; None when the file has none.
            where: names the file in messages.

        Raises:
            WeightsError: not written by this package, by a newer version of it, or damaged.
        """
        if not text:
            raise WeightsError(
                f"{where} does not say which model it holds: it was not written by `vitpose export`; export it again"
            )
        try:
            plain = json.loads(text)
            schema, version = plain["schema"], int(plain["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"the description in {where} is damaged ({error}); export it again") from error
        if schema != SCHEMA or version > VERSION:
            raise WeightsError(
                f"{where} has schema {schema!r} version {version}, this vitpose reads {SCHEMA!r} up to version"
                f" {VERSION}: upgrade vitpose, or export the file again with this version"
            )
        return cls._from_plain(plain, where)

    @classmethod
    def _from_plain(cls, plain: dict[str, Any], where: str) -> "Description":
        try:
            return cls(
                spec=ModelSpec.from_dict(plain["spec"], where=where),
                skeleton=Skeleton.from_dict(plain["skeleton"], where=where),
                codec=Codec(**plain["codec"]),
                precision=str(plain["precision"]),
                end_to_end=bool(plain["end_to_end"]),
                source=str(plain.get("source", "")),
                rest="fp32" if plain.get("rest") == "fp32" else "bf16",
                kept=tuple(plain.get("kept", ())),
                written_by=str(plain.get("written_by", "")),
                calibration=plain.get("calibration"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the description in {where} is damaged ({error}); export it again") from error
