"""Coinbase Exchange: products, candles, trades, the book, and the WebSocket feed.

REST is at ``/products`` and ``/time``. The feed, which in reality has a separate host, is at
``/feed`` and at the root of the folder.
"""

from weft_sandbox.protocols.coinbase import feed, rest
from weft_sandbox.protocols.coinbase.rest import api

__all__ = ["api", "feed", "rest"]
