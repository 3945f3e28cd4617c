"""Data for training and evaluation: the made-up mini set, and AVSBench folders."""
