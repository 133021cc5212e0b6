"""Contrastive learning: MoCo, hard negatives, and what features are worth from few labels."""
