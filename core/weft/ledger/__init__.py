"""The ledger: an append-only, hash-chained record of every signal."""
