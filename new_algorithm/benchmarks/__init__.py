"""What the benchmark script measures with: methods as calls, step costs, budgets, tables."""
