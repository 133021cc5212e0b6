"""Advice on a model in PyTorch: what in it, or in its training, is known to go wrong.

    from new_algorithm.model_advice import advise

    for one in advise(model, x, y, loss=loss, optimizer=optimizer, clip_norm=1.0):
        print(one)

trace.py sees what acts on one batch, examined.py collects what rules/ look at.
"""

from new_algorithm.model_advice.advise import advise
from new_algorithm.model_advice.suggestion import Note, Suggestion

__all__ = ["Note", "Suggestion", "advise"]
