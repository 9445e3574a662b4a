"""Curves from tracks: smoothing online and offline, repair, angles, speeds, repetitions, gait. Numbers in seconds."""
