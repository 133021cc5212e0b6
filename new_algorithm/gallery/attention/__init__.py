"""Attention in transformers: at one scale, at several, and on levels with a router between them."""
