"""The HTTP client of the providers: rate limits, retries, cache, key and errors in one place.

A provider declares an `Api`, sends requests through an `Http`, and parses an `HttpResponse` with a
`Reader`. The client adds the key, keeps to the rate limits, retries within a deadline, leaves a
failing source alone, caches responses and removes the key from messages and logs::

    API = Api("https://api.example.com", key=HeaderKey("X-Api-Key"), limits=(RateLimit(60, 60),))

    async with Http(API, name="example", clock=SystemClock(), rng=random.Random(1)) as http:
        response = await http.get("/v1/price", params={"symbol": "BTC"}, ttl=60)
        price = response.read.number("data", "price")

The public names are listed in ``__init__.pyi`` and imported at their first use: declaring an `Api`
does not import the client.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
