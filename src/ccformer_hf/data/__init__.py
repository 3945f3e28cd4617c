"""Clips for training and evaluation: AVSBench, folders of clips, composed and synthetic clips."""
