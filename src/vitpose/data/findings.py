"""What a check of a data set found, each fault with its place."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from vitpose.data.records import Identifier

Severity = Literal["error", "warning"]

CHECKS: dict[str, str] = {
    "file": "the annotation file cannot be used at all",
    "annotation": "an annotation is faulty and was left out",
    "no-area": "a box has no area and no keypoint is labelled",
    "missing": "a picture is not there",
    "unreadable": "a picture cannot be decoded to its end",
    "size": "a picture has another size than the file says",
    "shared-picture": "two entries of the file name the same picture",
    "nobody": "there is nothing to learn from",
    "few": "there is little to learn from",
    "never-labelled": "a keypoint is labelled in nobody",
    "no-pairs": "the skeleton has no mirror pairs",
    "outside-picture": "labelled keypoints lie outside the picture",
    "outside-box": "labelled keypoints lie far outside the box",
    "origin": "a labelled keypoint stands at 0, 0",
    "twice": "a person is labelled twice",
    "left-right": "left and right seem exchanged",
    "length": "an edge is far longer than the rest of the person allows",
    "same-picture": "a picture is nearly the same as another",
    "leak": "a picture is nearly the same as one of another set",
    "unlabelled": "there seem to be people who are not labelled",
}
"""Every kind of finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        check: a key of ``CHECKS``.
        severity: ``error`` for what is certainly wrong, ``warning`` for what should be looked at.
        message: what and where, for people.
        image: the picture, empty for faults of the whole set.
        annotation_id: the person, None for faults of pictures.
    """

    check: str
    severity: Severity
    message: str
    image: str = ""
    annotation_id: Identifier | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = {"check": self.check, "severity": self.severity, "message": self.message}
        optional = {"image": self.image or None, "annotation_id": self.annotation_id}
        return plain | {key: value for key, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """Everything that was found in one set.

    Attributes:
        source: the annotation file.
        images: how many pictures it lists.
        people: how many people it labels.
        trainable: how many of them a model can learn from.
        keypoints: how many keypoints of them are labelled.
        findings: the faults.
        skipped: checks that could not be made, with the reason.
    """

    source: str
    images: int = 0
    people: int = 0
    trainable: int = 0
    keypoints: int = 0
    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()

    def of(self, check: str) -> tuple[Finding, ...]:
        """Return the findings of one check."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def failed(self, *, strict: bool = False) -> bool:
        """Say whether there are errors or, with ``strict``, any findings at all."""
        return any(strict or finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "source": self.source,
            "images": self.images,
            "people": self.people,
            "trainable": self.trainable,
            "keypoints": self.keypoints,
            "counts": dict(Counter(finding.check for finding in self.findings)),
            "findings": [finding.to_dict() for finding in self.findings],
            "skipped": list(self.skipped),
        }
