"""Keypoints to target heatmaps and back, in torch, on any device."""
