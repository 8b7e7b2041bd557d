"""Coinbase Exchange: products, candles, trades, the book, and the WebSocket feed.

REST is at ``/products`` and ``/time``; the feed, which has a host of its own in reality, is at
``/feed`` and at the folder itself.
"""

from weft_sandbox.protocols.coinbase import feed, rest
from weft_sandbox.protocols.coinbase.rest import api

__all__ = ["api", "feed", "rest"]
