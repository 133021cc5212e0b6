"""Back projection for any PyTorch model, in place of another optimizer."""

from new_algorithm.torch_optimizer.optimizer import BackProjection

__all__ = ["BackProjection"]
