"""Scores of a model on AVSBench, on folders of clips, under wrong sounds and on synthetic clips."""
