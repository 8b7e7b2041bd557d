"""The ways in: command line, HTTP API, live service."""
