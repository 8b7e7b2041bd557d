"""A server on this machine with Binance's protocol, and with faults on demand."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from weft.foundation.times import HOUR, MINUTE, parse_time

LISTED = parse_time("2026-01-01T00:00:00Z")
NOW = LISTED + 50 * HOUR + 30 * MINUTE
_MILLIS = {"1h": 3_600_000, "4h": 14_400_000, "1w": 604_800_000}

Reply: TypeAlias = tuple[int, dict[str, str], bytes]
Fault: TypeAlias = Callable[[str, dict[str, str]], Reply | None]


class Exchange(ThreadingHTTPServer):
    """Answers /api/v3/klines, /api/v3/exchangeInfo and /api/v3/depth as Binance does.

    `faults` are asked before every answer; the first reply that is not None is sent instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.now = NOW // 1000
        self.symbols = {"BTCUSDT": ("BTC", 100.0), "1000SATSUSDT": ("1000SATS", 0.0002)}
        self.delisted: dict[str, int] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may hang up."""

    def answer(self, path: str, params: dict[str, str]) -> Reply:
        self.asked.append((path, params))
        for fault in self.faults:
            if (reply := fault(path, params)) is not None:
                return reply
        if path == "/api/v3/exchangeInfo" and "symbols" in params:
            return self.listed(json.loads(params["symbols"]))
        return self.sound_answer(path, params)

    def listed(self, names: list[str]) -> Reply:
        if not set(names) <= set(self.symbols):
            return refusal(400, -1121, "Invalid symbol.")
        return json_reply({"timezone": "UTC", "symbols": [self.described(n) for n in names]})

    def sound_answer(self, path: str, params: dict[str, str]) -> Reply:
        symbol, step = params.get("symbol"), _MILLIS.get(params.get("interval", ""))
        if symbol is None:
            return refusal(400, -1102, "Mandatory parameter 'symbol' was not sent.")
        if symbol not in self.symbols:
            return refusal(400, -1121, "Invalid symbol.")
        if path == "/api/v3/exchangeInfo":
            return json_reply({"timezone": "UTC", "symbols": [self.described(symbol)]})
        if path == "/api/v3/depth":
            bids, asks = (
                [[f"{100 + side * i / 4}", "2.0"] for i in range(1, 9)] for side in (-1, 1)
            )
            return json_reply({"lastUpdateId": 7, "bids": bids, "asks": asks})
        if step is None:
            return refusal(400, -1120, "Invalid interval.")
        return json_reply(self.klines(params, step))

    def described(self, symbol: str) -> dict[str, Any]:
        return {
            "symbol": symbol,
            "status": "TRADING",
            "baseAsset": self.symbols[symbol][0],
            "quoteAsset": "USDT",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001000"},
                {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            ],
        }

    def klines(self, params: dict[str, str], step: int) -> list[list[Any]]:
        """All times in milliseconds; the last candle may still be forming."""
        limit = min(int(params.get("limit", 500)), 1000)
        start, end = (int(params[k]) if k in params else None for k in ("startTime", "endTime"))
        first = -(-LISTED // 1000 // step) * step
        opens = [
            t
            for t in range(first, self.delisted.get(params["symbol"], self.now), step)
            if (start is None or t >= start) and (end is None or t <= end)
        ]
        chosen = opens[-limit:] if start is None else opens[:limit]
        return [kline(t, step, self.symbols[params["symbol"]][1]) for t in chosen]


def kline(opened: int, step: int, level: float) -> list[Any]:
    price = level * (1 + (opened // step % 97) / 1000)
    prices = [f"{price * part:.8f}" for part in (1.0, 1.02, 0.98, 1.01)]
    volume = f"{1000 + opened // step % 31}.12345678"
    return [opened, *prices, volume, opened + step - 1, "9.1", 42, "5.0", "4.1", "0"]


def json_reply(body: object) -> Reply:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def refusal(status: int, code: int, text: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"code": code, "msg": text}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Exchange

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        with self.server.lock:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status, headers, body = self.server.answer(parts.path, params)
        with self.server.lock:
            self.server.at_once -= 1
        # A test may set the Date header itself.
        (self.send_response_only if "Date" in headers else self.send_response)(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if int(headers.get("Content-Length", 0)) > len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        pass
