"""What a finished run's record says about its network: every part reads a Subject alone."""

PARTS_FILE = "analysis.json"  # of a record: what each part found, in words
