"""Settings from config.yaml, environment and command line, validated with readable errors."""
