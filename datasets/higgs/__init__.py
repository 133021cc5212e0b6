"""HIGGS, and data drawn in its form: 28 features, two classes, the last rows a test set."""
