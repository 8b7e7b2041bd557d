"""Settings: what config.yaml, the environment and the command line say, checked and explained."""
