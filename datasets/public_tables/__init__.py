"""Public tables, to choose defaults on and to judge methods by."""
