"""Portfolio risk: correlations, simulated losses, and the component."""
