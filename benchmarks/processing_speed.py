"""How long do cropping and decoding take a person, against the processor of `transformers`?

    python benchmarks/processing_speed.py

20 people in a 1080p picture, 17 keypoints. Both sides start from the decoded picture and boxes, make the model's input,
and end with keypoints in picture pixels from the same heatmaps; the model itself is left out on both. Both are timed in
runs of ten calls, as over a folder of pictures.

Ours hands uint8 crops to the engine; normalisation is part of the engine's graph, theirs part of the processor. So two
ratios are given: processing alone, and with our normalisation counted as well.
"""

import numpy as np
import torch
from harness import interleaved, median_ratio, write_result
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil
from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform, Size, xyxy_to_xywh
from vitpose.models.pixels import normalize

PEOPLE, SIZE = 20, Size(256, 192)


def main() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    low = rng.uniform(0, [1600, 600], (PEOPLE, 2))
    boxes = np.concatenate([low, low + rng.uniform([80, 200], [300, 480], (PEOPLE, 2))], axis=1)
    codec = Codec()
    places = torch.from_numpy(rng.uniform(10, 180, (PEOPLE, 17, 2)).astype(np.float32))
    heatmaps, _ = codec.encode(places, torch.ones(PEOPLE, 17), SIZE, Size(64, 48))
    processor = VitPoseImageProcessorPil()
    xywh = [xyxy_to_xywh(boxes).tolist()]

    def theirs_before() -> None:
        processor(image, boxes=xywh, return_tensors="pt")

    def theirs_after() -> None:
        processor.post_process_pose_estimation(VitPoseEstimatorOutput(heatmaps=heatmaps), boxes=xywh)

    def ours_before() -> None:
        CropTransform.from_boxes(boxes, SIZE).warp(image)

    def ours_normalized() -> None:
        normalize(torch.from_numpy(CropTransform.from_boxes(boxes, SIZE).warp(image)), torch.float32)

    def ours_after() -> None:
        points, _ = codec.decode(heatmaps, SIZE)
        CropTransform.from_boxes(boxes, SIZE).to_image(points.numpy())

    sides = {
        "transformers, before the model": theirs_before,
        "transformers, after the model": theirs_after,
        "vitpose, before the model": ours_before,
        "vitpose, before the model and normalised": ours_normalized,
        "vitpose, after the model": ours_after,
    }
    seconds = interleaved(sides, repeats=9, calls=10)
    before, after, crops, normalized, decoded = seconds.values()
    theirs = [a + b for a, b in zip(before, after, strict=True)]
    ours = [a + b for a, b in zip(crops, decoded, strict=True)]
    with_normalization = [a + b for a, b in zip(normalized, decoded, strict=True)]
    write_result(
        "processing_speed",
        "pre- plus post-processing of 20 people in a 1080p picture: times faster a person than transformers' processor",
        {
            "ratio": median_ratio(theirs, ours),
            "ratio_with_normalisation": median_ratio(theirs, with_normalization),
            "ms_per_person": {name: 1000 * float(np.median(times)) / PEOPLE for name, times in seconds.items()},
        },
    )


if __name__ == "__main__":
    main()
