"""A film as a COCO-style label file with tracks, ``NAME.coco.json``: to correct by hand, or to load with pycocotools.

The layout is COCO's for keypoints (cocodataset.org, "Data format") with what video data sets add to it: a list
``videos``, and ``video_id``, ``frame_id`` and ``track_id``.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from vitpose.core.coco import category_id
from vitpose.core.files import GrowingFile
from vitpose.core.poses import shortest_decimals
from vitpose.core.text import readable
from vitpose.formats.film_facts import FilmFacts, FilmFrame

COCO_ENDING = ".coco.json"
"""What follows the film's name."""

DESCRIPTION = "Poses found by vitpose"
"""What the file says it is."""

_VISIBLE = 2


class CocoVideoWriter:
    """Writes pictures and people to two files as they come and joins them in the end."""

    def __init__(self, facts: FilmFacts, path: Path) -> None:
        """Start the file."""
        self._categories = {label: category_id(label, place) for place, label in enumerate(facts.labels or ("person",))}
        self._name = readable(path.name.removesuffix(COCO_ENDING))
        self._file = GrowingFile(path)
        # No name: gone with the process, however it ends. Errors are those of the file it will be part of.
        self._people = self._file.guard(_unnamed, path.parent)
        self._images = self._annotations = 0
        self._file.write(_beginning(facts, self._name, self._categories))

    def add(self, frame: FilmFrame) -> None:
        """Append one picture and one annotation a person."""
        self._images += 1
        image = {
            "id": self._images,
            "video_id": 1,
            "frame_id": frame.frame,
            "time_s": frame.time_s,
            "file_name": f"{self._name}/{frame.frame:012d}.jpg",
            "height": frame.poses.image_size.height,
            "width": frame.poses.image_size.width,
        }
        self._file.write((",\n" if self._images > 1 else "") + _text(image))
        for annotation in self._of_people(frame):
            self._annotations += 1
            numbered = {"id": self._annotations, **annotation}
            self._file.guard(self._people.write, (",\n" if self._annotations > 1 else "") + _text(numbered))

    def _of_people(self, frame: FilmFrame) -> list[dict[str, Any]]:
        poses = frame.poses
        entries = poses.to_coco_results(self._images, category_id=self._categories)
        box_scores, scores = shortest_decimals(poses.box_scores), shortest_decimals(poses.scores)
        optional = {name: getattr(poses, name) for name in ("p_correct", "raw_xy")}
        for i, entry in enumerate(entries):
            visible = poses.visible[i].tolist()
            entry["keypoints"][2::3] = [_VISIBLE if seen else 0 for seen in visible]
            _, _, width, height = entry["bbox"]
            entry |= {
                "video_id": 1,
                "num_keypoints": sum(visible),
                "area": width * height,
                "iscrowd": 0,
                "track_id": entry.get("track_id"),
                "box_score": box_scores[i],
                "keypoint_scores": scores[i],
            }
            entry |= {name: shortest_decimals(values[i]) for name, values in optional.items() if values is not None}
        return entries

    def finish(self) -> list[Path]:
        """Join the two parts and give the file its name."""
        self._file.write('\n],\n"annotations": [\n')
        self._file.guard(self._people.seek, 0)
        self._file.guard(shutil.copyfileobj, self._people, self._file)
        self._file.write("\n]}\n")
        self._file.keep()
        self._people.close()
        return [self._file.path]

    def discard(self) -> None:
        """Remove what is not finished."""
        self._file.discard()
        with contextlib.suppress(OSError):  # of the rest that could not be written
            self._people.close()


def _beginning(facts: FilmFacts, name: str, categories: dict[str, int]) -> str:
    video: dict[str, Any] = {"id": 1, "name": name, "file_name": facts.source, "frames": facts.frames}
    if facts.sizes:
        video |= {"height": facts.sizes[0].height, "width": facts.sizes[0].width}
    skeleton = facts.skeleton
    described = [skeleton.coco_category(label, category_id=number) for label, number in categories.items() if skeleton]
    info = {"description": DESCRIPTION, "skeleton": skeleton.name if skeleton else None}
    return f'{{"info": {_text(info)},\n"videos": [{_text(video)}],\n"categories": {_text(described)},\n"images": [\n'


def _text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _unnamed(folder: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=folder)  # closed by the writer
