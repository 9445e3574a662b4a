"""The vocabulary every layer speaks: numpy and OpenCV only, never torch, and no imports from above."""
