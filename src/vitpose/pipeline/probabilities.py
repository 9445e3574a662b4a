"""From a head's scores to probabilities, with the calibration that travels in its checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, WeightsError
from vitpose.core.provenance import Setting
from vitpose.core.skeleton import Skeleton
from vitpose.metrics.calibration import Calibration
from vitpose.pipeline.options import Options

CALIBRATION = "calibration"
"""Key of a checkpoint's metadata: by dataset, what ``to_metadata`` gave."""

_SETTINGS = "settings"

_log = logging.getLogger(__name__)


class Probabilities:
    """What the scores of one head are worth, found out under certain settings.

    Flip test, scales and the decoding blur change what a score means, so a calibration belongs to the settings it was
    fitted with. Under others it is applied all the same, for a rough probability says more than a raw score, and a
    warning says so once.
    """

    def __init__(self, calibration: Calibration, settings: Mapping[str, Setting] | None, name: str) -> None:
        """Join a calibration and its settings.

        Args:
            calibration: its keypoints are those of the head, in order.
            settings: ``Options.settings`` it was fitted with; None where nobody wrote them down.
            name: of the model, for the log.
        """
        self.calibration = calibration
        self.settings = settings
        self._name = name
        self._said = False

    def __call__(self, scores: NDArray[np.float32], options: Options) -> NDArray[np.float32]:
        """Return ``(people, keypoints)`` probabilities that each keypoint lies within the OKS 0.5 tolerance.

        Args:
            scores: ``(people, keypoints)`` heatmap peaks.
            options: they were found with; a warning is given, once, if they are not those of the calibration.
        """
        if not self._said:
            self._said = True
            self._compare(options.settings)
        return self.calibration.apply(scores).astype(np.float32)

    def _compare(self, chosen: Mapping[str, Setting]) -> None:
        if self.settings is None:
            _log.info("%s: the calibration does not say with which settings it was fitted", self._name)
            return
        names = dict.fromkeys([*self.settings, *chosen])
        other = [name for name in names if self.settings.get(name) != chosen.get(name)]
        if other:
            fitted = ", ".join(f"{name} {self.settings.get(name)}" for name in other)
            now = ", ".join(f"{name} {chosen.get(name)}" for name in other)
            _log.warning(
                "%s: p_correct was calibrated with %s, and is only roughly right with %s", self._name, fitted, now
            )


def to_metadata(calibration: Calibration, options: Options) -> dict[str, Any]:
    """Return the entry of one dataset for a checkpoint's metadata.

    Args:
        calibration: of the head.
        options: the estimator had whose scores were fitted.
    """
    return calibration.to_dict() | {_SETTINGS: _as_json(options.settings)}


def from_metadata(metadata: Mapping[str, Any], dataset: str, skeleton: Skeleton, name: str) -> Probabilities | None:
    """Return the probabilities a checkpoint's metadata allow; None where it has none for this head.

    Args:
        metadata: of the checkpoint.
        dataset: of the head.
        skeleton: of the head; keypoints are matched by name.
        name: of the model, for messages.

    Raises:
        WeightsError: the entry cannot be read.
    """
    entries = metadata.get(CALIBRATION)
    entry = entries.get(dataset) if isinstance(entries, Mapping) else entries
    if entry is None:
        return None
    try:
        curves = Calibration.from_dict(entry)
        settings = None if _SETTINGS not in entry else {key: _frozen(value) for key, value in entry[_SETTINGS].items()}
    except (InputError, AttributeError, TypeError) as error:
        raise WeightsError(f"{name}: the calibration of {dataset} is damaged ({error}); get the file again") from error
    missing = [keypoint for keypoint in skeleton.keypoints if keypoint not in curves.keypoints]
    if missing:
        _log.info(
            "%s: no probabilities for %s, its calibration lacks %d of %d keypoints (%s)",
            name,
            dataset,
            len(missing),
            len(skeleton),
            ", ".join(missing[:3]) + (" …" if len(missing) > 3 else ""),
        )
        return None
    return Probabilities(_ordered(curves, skeleton), settings, name)


def _ordered(curves: Calibration, skeleton: Skeleton) -> Calibration:
    places = [curves.keypoints.index(keypoint) for keypoint in skeleton.keypoints]
    return replace(
        curves,
        keypoints=skeleton.keypoints,
        slopes=tuple(curves.slopes[place] for place in places),
        intercepts=tuple(curves.intercepts[place] for place in places),
        pairs=tuple(curves.pairs[place] for place in places),
    )


def _as_json(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}


def _frozen(value: Any) -> Setting:
    frozen: Setting = tuple(value) if isinstance(value, list) else value
    return frozen
