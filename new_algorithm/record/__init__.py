"""What a run leaves behind: its record, checkpoints, note and index."""
