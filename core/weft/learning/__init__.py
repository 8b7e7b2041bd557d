"""Learning without fooling oneself: outcomes, purged splits, artifacts, and who is promoted."""
