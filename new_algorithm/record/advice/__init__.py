"""What a run's own numbers say of it: findings, each with its evidence, its cause and a remedy."""
