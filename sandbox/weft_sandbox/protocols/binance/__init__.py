"""Binance: spot and USDT-M market data, REST and WebSocket.

REST keeps its paths: ``/api/v3`` and ``/fapi/v1`` and ``/futures/data``. Spot streams are at
``/ws`` and ``/stream``; futures streams at ``/public``, ``/market``, and unrouted at ``/fstream``,
each with ``/ws`` and ``/stream`` below.
"""

from weft_sandbox.protocols.binance import futures, futures_data, spot, streams
from weft_sandbox.protocols.binance.api import api

__all__ = ["api", "futures", "futures_data", "spot", "streams"]
