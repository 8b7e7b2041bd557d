"""Bybit v5: market data of spot and linear perpetuals, REST and WebSocket.

REST is at ``/v5/market``, streams at ``/v5/public/spot`` and ``/v5/public/linear``. Inverse
contracts and options are not listed here.
"""

from weft_sandbox.protocols.bybit import rest, streams
from weft_sandbox.protocols.bybit.api import api

__all__ = ["api", "rest", "streams"]
