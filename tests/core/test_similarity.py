"""Boxes and poses compared."""

import numpy as np
import pytest

from vitpose.core.similarity import iou_matrix, oks_matrix


def test_iou_of_itself_half_and_nothing() -> None:
    boxes = [[0, 0, 10, 10], [5, 0, 15, 10], [100, 100, 110, 110]]
    np.testing.assert_allclose(iou_matrix(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert iou_matrix([], boxes).shape == (0, 3)
    assert iou_matrix([[0, 0, 0, 0]], [[0, 0, 0, 0]])[0, 0] == 0


def test_oks_by_hand() -> None:
    sigmas, area = np.array([0.05, 0.1]), 400.0
    first = np.array([[[0.0, 0.0], [10.0, 10.0]]])
    second = first + np.array([[[3.0, 4.0], [0.0, 0.0]]])
    expected = (np.exp(-25 / (2 * area * 0.1**2)) + 1) / 2
    assert oks_matrix(first, second, sigmas=sigmas, areas=area)[0, 0] == pytest.approx(expected)
    only = oks_matrix(first, second, sigmas=sigmas, areas=area, counted=[[True, False]])
    assert only[0, 0] == pytest.approx(np.exp(-25 / (2 * area * 0.1**2)))


def test_oks_is_symmetric_and_empty_is_empty(rng: np.random.Generator) -> None:
    poses = rng.uniform(0, 100, (4, 17, 2))
    sigmas = np.full(17, 0.07)
    similarity = oks_matrix(poses, poses, sigmas=sigmas, areas=5000.0)
    np.testing.assert_allclose(similarity, similarity.T)
    np.testing.assert_allclose(np.diag(similarity), 1)
    assert oks_matrix(poses[:0], poses, sigmas=sigmas, areas=1.0).shape == (0, 4)
    nothing = oks_matrix(poses, poses, sigmas=sigmas, areas=1.0, counted=np.zeros((4, 17)))
    assert (nothing == 0).all()
