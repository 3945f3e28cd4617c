"""The training loop on `accelerate`, its recipes, the run folder and what a run starts from."""
