"""MNIST: found or fetched, verified, scaled."""
