"""Nansen: what labelled wallets do."""
