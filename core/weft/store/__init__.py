"""The bitemporal store: Delta tables on disk, hot panels in memory."""
