"""Scores of audio-visual segmentation: pure functions on additive statistics."""
