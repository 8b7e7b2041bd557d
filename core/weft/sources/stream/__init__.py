"""Live streams over WebSockets, beside the requests over HTTP.

A provider with streams implements ``streams(request)`` and returns `StreamSpec`s: an address,
topics, the message that subscribes, and a parser from a message to the events of
`weft.sources.stream.events`. This package does the rest for every venue: it keeps connections open
within the venue's limits, hands on each candle exactly once, requests missing candles over HTTP,
and computes sums and order-book metrics at every close.

The public names are listed in ``__init__.pyi`` and imported at their first use: declaring streams
does not import the WebSocket library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
