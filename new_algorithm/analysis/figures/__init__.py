"""What draws the tables and arrays of each part, from their files alone."""
