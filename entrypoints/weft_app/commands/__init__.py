"""One module per command group of the `weft` command line."""
