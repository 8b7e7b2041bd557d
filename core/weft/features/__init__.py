"""The feature engine: one step per feature, compiled, looped over history and called live."""
