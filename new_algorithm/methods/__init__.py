"""Training methods that are compared, one small file each. To add one: README.md."""
