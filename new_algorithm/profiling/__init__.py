"""Where the time and memory of a training go: imported, and in force, with --profile alone."""
