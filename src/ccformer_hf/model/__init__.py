"""What travels to the Hub with the weights: configuration, network, loss, processors, media reading, pipeline."""
