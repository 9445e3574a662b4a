"""Keypoints with NumPy, OpenCV and ONNX Runtime only: no PyTorch, no vitpose.

vitpose export vitpose-b --to onnx --end-to-end --images photos/ -o model.onnx
python examples/onnx_only.py model.onnx photo.jpg 110 40 290 480
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime


def main(model: str, photo: str, *corners: str) -> None:
    """Print the keypoints of the person in a box, or of the only person in the picture."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    words = json.loads(session.get_modelmeta().custom_metadata_map["vitpose"])
    height, width = words["spec"]["input_size"]
    less = 1 if words["codec"]["convention"] == "udp" else 0
    image = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)
    x1, y1, x2, y2 = map(float, corners) if corners else (0, 0, image.shape[1], image.shape[0])
    # The region: the box, grown to the crop's aspect ratio and then by a quarter.
    square = words["spec"]["heads"][0]["square_box"]
    aspect = 1.0 if square else width / height
    box_width = max(x2 - x1, (y2 - y1) * aspect)
    region = 1.25 * np.array([box_width, box_width / aspect])
    scale = (np.array([width, height]) - less) / region
    offset = (np.array([width, height]) - less) / 2 - scale * np.array([x1 + x2, y1 + y2]) / 2
    crop = cv2.warpAffine(image, np.column_stack([np.diag(scale), offset]), (width, height))
    keypoints, scores = session.run(["keypoints", "scores"], {"crops": crop[None]})
    names, places = words["skeleton"]["keypoints"], (keypoints[0] - offset) / scale
    for name, (x, y), score in zip(names, places, scores[0], strict=True):
        print(f"{name:16} {x:8.1f} {y:8.1f} {score:6.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
