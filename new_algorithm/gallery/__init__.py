"""Research methods around back projection, each with a script of its own."""
