"""What the catalogue says about one checkpoint."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vitpose.models.variants import HeadSpec, ModelSpec, published_spec

Format = Literal["hf", "mmpose0", "mmpose1", "easy", "mae", "vitpose"]
Commercial = Literal["yes", "no", "unclear", "conflicting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What went into the weights, and on what terms, as far as they could be checked.

    Attributes:
        key: short name, for instance ``wholebody``.
        title: the data set or weights.
        terms: what its publishers state.
        commercial: whether they allow commercial use; ``conflicting`` where they contradict themselves.
    """

    key: str
    title: str
    terms: str
    commercial: Commercial


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A reported score: not measured by this package.

    Attributes:
        on: short name of the protocol.
        metric: ``AP``, ``AR``, ``AP hard`` or ``PCKh``.
        value: in percent.
        protocol: data, boxes and flip test.
        source: who reported it.
    """

    on: str
    metric: str
    value: float
    protocol: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """One published checkpoint.

    Attributes:
        id: the name to load it by.
        title: one line for people.
        architecture: the published spec it follows, for instance ``vitpose-plus-b``.
        heads: its heads in the order of the file; empty for a backbone to start a training from.
        format: how the file names its tensors.
        code_license: licence of the code it was released with.
        weights_license: what the publishers of the file state about the file itself.
        trained_on: the terms of everything that went into it.
        aliases: other names to load it by.
        repo: Hugging Face hub repository, or empty.
        file: file in that repository, or empty.
        url: address to download from, or empty.
        page: where to download it by hand when there is neither, or empty.
        packaged: file that comes with the package, in ``weights/embedded``, or empty.
        sha256: the leading hex digits that are known: all 64, some, or none.
        scores: reported scores, the main one first.
        size_mb: size in 10^6 bytes where a source states it.
        note: what is uncertain or worth knowing.
    """

    id: str
    title: str
    architecture: str
    heads: tuple[HeadSpec, ...]
    format: Format
    code_license: str
    weights_license: str
    trained_on: tuple[Terms, ...]
    aliases: tuple[str, ...] = ()
    repo: str = ""
    file: str = ""
    url: str = ""
    page: str = ""
    packaged: str = ""
    sha256: str = ""
    scores: tuple[Score, ...] = ()
    size_mb: float | None = None
    note: str = ""

    @property
    def spec(self) -> ModelSpec | None:
        """The whole model in the file; None for a backbone without a head."""
        if not self.heads:
            return None
        return replace(published_spec(self.architecture), name=self.id, heads=self.heads)

    @property
    def source(self) -> Literal["package", "hub", "url", "manual"]:
        """How the file is to be had: with the package, from the hub, from an address, or by hand."""
        return "package" if self.packaged else "hub" if self.repo else "url" if self.url else "manual"

    @property
    def where(self) -> str:
        """The place it comes from, for people."""
        hub = f"https://huggingface.co/{self.repo} ({self.file})"
        by_hand = f"download by hand from {self.page}"
        return {"package": "comes with this package", "hub": hub, "url": self.url, "manual": by_hand}[self.source]

    @property
    def local_name(self) -> str:
        """What the file is called in this package's own cache."""
        name = (self.url or self.file).rpartition("/")[2]
        return name if self.url else f"{self.id}.{name.rpartition('.')[2] or 'pth'}"

    @property
    def restrictions(self) -> tuple[Terms, ...]:
        """Everything that went into it whose terms forbid commercial use or contradict themselves."""
        return tuple(terms for terms in self.trained_on if terms.commercial in {"no", "conflicting"})

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON data."""
        derived = {"source": self.source, "where": self.where, "restrictions": [t.key for t in self.restrictions]}
        return asdict(self) | derived
