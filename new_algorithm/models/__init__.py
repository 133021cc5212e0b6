"""Models in PyTorch beyond plain ReLU networks, with the data and the loss of each."""
