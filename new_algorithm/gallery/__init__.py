"""Research methods around back projection: so far a gradient that several of them need."""
