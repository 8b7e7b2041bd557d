"""Reddit: posts and mentions."""
