"""One entry for every annotation format: ``read_labelled``. ``KINDS`` says what is peculiar to each."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.matching import positions_by_name
from vitpose.data.readers.aic import read_aic
from vitpose.data.readers.checks import OnBad, read_json
from vitpose.data.readers.coco import CocoStyle, read_coco
from vitpose.data.readers.interhand import read_interhand
from vitpose.data.readers.mpii import read_mpii, read_mpii_release
from vitpose.data.records import LabelledSet

_PARTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
_COFW_PAIRS = ((0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23))


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of annotation file is read.

    Attributes:
        skeleton: built-in skeleton; empty to take what the file describes.
        style: differences from plain COCO.
    """

    skeleton: str = ""
    style: CocoStyle = field(default_factory=CocoStyle)


KINDS: Mapping[str, Kind] = {
    "coco": Kind(),
    "wholebody": Kind("wholebody133", CocoStyle(fields=_PARTS, loose_visibility=True)),
    "aic": Kind("aic14"),
    "mpii": Kind("mpii16"),
    "crowdpose": Kind("crowdpose14", CocoStyle(swapped_sizes=True)),
    "ochuman": Kind("ochuman17"),
    "humanart": Kind("humanart17"),
    "halpe": Kind("halpe136"),
    "jhmdb": Kind("jhmdb15", CocoStyle(one_based=True)),
    "posetrack18": Kind("posetrack17"),
    "lsp": Kind("body14"),
    "ap10k": Kind("ap10k17"),
    "apt36k": Kind("ap10k17"),
    "animalpose": Kind("animalpose20"),
    "macaque": Kind("macaque17"),
    "atrw": Kind("atrw15"),
    "horse10": Kind("horse22"),
    "onehand10k": Kind("hand21"),
    "freihand": Kind("hand21"),
    "interhand": Kind("interhand21"),
    "300w": Kind("face68", CocoStyle(center_scale=True)),
    "wflw": Kind("wflw98", CocoStyle(center_scale=True)),
    "cofw": Kind("cofw29"),
}
"""Every kind ``read_labelled`` knows. ``coco`` is any COCO-style file, one of the user's own included."""


def read_labelled(
    kind: str,
    annotations: str | Path,
    images_dir: str | Path | None = None,
    *,
    skeleton: str | Path | Skeleton | None = None,
    on_bad: OnBad = "refuse",
) -> LabelledSet:
    """Read an annotation file of any known kind.

    Everything labelled is returned, crowds and people without keypoints included: ``LabelledSet.for_training`` leaves
    out what cannot be learnt from. Coordinates become 0-based, visibilities COCO's 0, 1, 2.

    Args:
        kind: a key of ``KINDS``, or ``"auto"`` to tell it from the content.
        annotations: json (also gzipped), or MPII's official ``.mat``.
        images_dir: folder that picture names are relative to; by default it is looked for around the file. Whether
            every picture exists is for ``doctor.check_dataset`` to say.
        skeleton: what the keypoints are, a built-in name, a TOML file or an object, where the file does not say or
            something else is wanted. Keypoints are matched by name when the file names them all, else by position.
        on_bad: what to do with a faulty person: ``refuse`` the file, or ``drop`` the person and list it in
            ``problems``. Faults of the whole file or of its list of pictures are always refused.

    Raises:
        InputError: the file is not there, is not JSON, or has a fault; file, annotation and field are named.
        UsageError: an unknown kind or skeleton.
    """
    path = Path(annotations)
    wanted = None if skeleton is None else load_skeleton(skeleton)
    if kind not in KINDS and kind != "auto":
        raise UsageError(f"unknown kind of annotations {kind!r}{nearest(kind, [*KINDS, 'auto'])}")
    if path.suffix == ".mat":
        return _as_wanted(read_mpii(path, read_mpii_release(path), images_dir, _skeleton("mpii16"), on_bad), wanted)
    content = read_json(path)
    kind = detect_kind(content) if kind == "auto" else kind
    return _as_wanted(_read(kind, path, content, images_dir, wanted, on_bad), wanted)


def detect_kind(content: Any) -> str:
    """Tell the kind of an annotation file by what is in it; anything unknown is ``coco``."""
    if isinstance(content, list) and content and isinstance(content[0], Mapping):
        return "aic" if "keypoint_annotations" in content[0] else "mpii" if "joints" in content[0] else "coco"
    if not isinstance(content, Mapping):
        return "coco"
    person, image = _first(content.get("annotations")), _first(content.get("images"))
    if "lefthand_kpts" in person:
        return "wholebody"
    if "keypoints_21" in person:
        return "humanart"
    if "capture" in image and "joint_valid" in person:
        return "interhand"
    keypoints = person.get("keypoints")
    points = len(keypoints) if isinstance(keypoints, list) else 0
    if "crowdIndex" in image and points == 14 * 3:
        return "crowdpose"
    if "nframes" in image and points == 15 * 3:
        return "jhmdb"
    return _by_count(content, points)


def _by_count(content: Mapping[str, Any], points: int) -> str:
    """Tell sets whose files name no keypoints by how many there are."""
    categories = content.get("categories")
    listed = categories if isinstance(categories, list) else []
    named = any(_first([category]).get("keypoints") for category in listed)
    unnamed = {68 * 3: "300w", 98 * 3: "wflw", 29 * 3: "cofw", 136 * 3: "halpe"}
    return "coco" if named else unnamed.get(points, "coco")


def _first(values: Any) -> Mapping[str, Any]:
    first = values[0] if isinstance(values, list) and values else {}
    return first if isinstance(first, Mapping) else {}


def _read(
    kind: str, path: Path, content: Any, images_dir: str | Path | None, wanted: Skeleton | None, on_bad: OnBad
) -> LabelledSet:
    own = _skeleton(KINDS[kind].skeleton) if KINDS[kind].skeleton else None
    if isinstance(content, list) and own is not None and kind in {"aic", "mpii"}:
        read = read_aic if kind == "aic" else read_mpii
        return read(path, content, images_dir, own, on_bad)
    if kind == "interhand" and own is not None:
        return read_interhand(path, content, images_dir, own, on_bad)
    style = dataclasses.replace(KINDS[kind].style, skeleton=own)
    if own is None and wanted is not None and not _names_keypoints(content):
        style = dataclasses.replace(style, skeleton=wanted)
    return read_coco(path, content, images_dir, style, on_bad)


def _names_keypoints(content: Any) -> bool:
    categories = content.get("categories") if isinstance(content, Mapping) else None
    return any(_first([category]).get("keypoints") for category in categories or ())


def _as_wanted(labelled: LabelledSet, wanted: Skeleton | None) -> LabelledSet:
    """Bring the keypoints into the order of ``wanted``: by name if all names agree, else by position."""
    if wanted is None or wanted is labelled.skeleton:
        return labelled
    if (positions_by_name(wanted.keypoints, labelled.skeleton.keypoints) >= 0).all():
        return labelled.with_keypoints_of(wanted)
    if len(wanted) != len(labelled.skeleton):
        raise InputError(
            f"{labelled.source} has {len(labelled.skeleton)} keypoints, skeleton {wanted.name!r} has {len(wanted)};"
            " read the file as it is and match by name with LabelledSet.with_keypoints_of"
        )
    return dataclasses.replace(labelled, skeleton=wanted)


def _skeleton(name: str) -> Skeleton:
    if name != "cofw29":
        return load_skeleton(name)
    names = tuple(f"kpt-{index}" for index in range(29))
    return Skeleton("cofw29", names, flip_pairs=tuple((names[a], names[b]) for a, b in _COFW_PAIRS))
