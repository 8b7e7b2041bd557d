"""The on-chain and derivatives layer."""
