"""Data for training and evaluation: the synthetic mini set, and AVSBench folders."""
