"""HIGGS, and data drawn like it: found, fetched, read once into a cache, split and scaled."""
