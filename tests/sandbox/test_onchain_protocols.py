"""Glassnode, Coin Metrics, CryptoQuant and Santiment, as their clients request them."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from weft.foundation.times import DAY, HOUR, SECOND, iso, parse_time
from weft_sandbox import Sandbox
from weft_sandbox.protocols import coinmetrics, cryptoquant, glassnode, santiment

NOW = parse_time("2021-06-15T12:34:56.789Z")
TODAY = NOW // DAY * DAY
APIS = [glassnode.api, coinmetrics.api, cryptoquant.api, santiment.api]
KEYS = {
    "glassnode": {"headers": {"X-Api-Key": "{}"}},
    "coinmetrics": {"params": {"api_key": "{}"}},
    "cryptoquant": {"headers": {"Authorization": "Bearer {}"}},
    "santiment": {"headers": {"Authorization": "Apikey {}"}},
}
METRIC = "/v1/metrics/market/mvrv"
ROWS = "/v4/timeseries/asset-metrics"
NETFLOW = "/v1/btc/exchange-flows/netflow"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7, start=NOW, speed=0, limits=float("inf"), apis=APIS) as sandbox:
        yield sandbox


@pytest.fixture
def ask(sandbox: Sandbox, http: httpx.Client) -> Any:
    def call(provider: str, path: str, key: str | None = "key", /, **params: Any) -> httpx.Response:
        place = KEYS[provider] if key else {}
        headers = {n: v.format(key) for n, v in place.get("headers", {}).items()}
        own = {n: v.format(key) for n, v in place.get("params", {}).items()}
        return http.get(sandbox.url(provider) + path, params={**own, **params}, headers=headers)

    return call


@pytest.fixture
def query(sandbox: Sandbox, http: httpx.Client) -> Any:
    def call(text: str, key: str | None = "key", **variables: Any) -> httpx.Response:
        headers = {"Authorization": f"Apikey {key}"} if key else {}
        body = {"query": text, "variables": variables}
        return http.post(sandbox.url("santiment") + "/graphql", json=body, headers=headers)

    return call


class TestGlassnode:
    def test_rows_are_stamped_with_their_start_and_the_last_is_unfinished(
        self, sandbox: Sandbox, ask: Any
    ) -> None:
        since = (TODAY - 3 * DAY) // SECOND
        rows = ask("glassnode", METRIC, a="BTC", i="24h", s=since, u=NOW // SECOND).json()
        assert [row["t"] * SECOND for row in rows] == [TODAY - n * DAY for n in (3, 2, 1, 0)]
        told = sandbox.world.series("mvrv", "BTC", np.array([TODAY, NOW]))
        assert [row["v"] for row in rows[-2:]] == pytest.approx(told.tolist())

    def test_point_in_time_rows_appear_after_computation(self, ask: Any) -> None:
        rows = ask("glassnode", f"{METRIC}_pit", a="BTC", s=(TODAY - 2 * DAY) // SECOND).json()
        assert [row["computed_at"] - row["t"] for row in rows] == [86_427, 86_427]
        assert max(row["computed_at"] for row in rows) * SECOND <= NOW

    def test_bulk_returns_several_assets(self, ask: Any) -> None:
        since = (TODAY - 2 * DAY) // SECOND
        found = ask("glassnode", f"{METRIC}/bulk", a=["BTC", "ETH"], s=since).json()["data"]
        assert [[one["a"] for one in row["bulk"]] for row in found] == [["BTC", "ETH"]] * 3
        long = (TODAY - 40 * DAY) // SECOND
        assert ask("glassnode", f"{METRIC}/bulk", a=["BTC"], s=long).status_code == 400

    def test_csv_and_spelled_out_times(self, ask: Any) -> None:
        span = {"a": "BTC", "s": (TODAY - DAY) // SECOND, "u": TODAY // SECOND - 1}
        text = ask("glassnode", METRIC, f="csv", timestamp_format="humanized", **span).text
        head, row = text.split("\n")
        assert head == "timestamp,value"
        assert row.startswith("2021-06-14T00:00:00Z,1.")

    def test_flows_in_dollars_are_coins_times_price(self, sandbox: Sandbox, ask: Any) -> None:
        path = "/v1/metrics/distribution/balance_exchanges"
        span = {"a": "BTC", "s": (TODAY - DAY) // SECOND, "u": TODAY // SECOND - 1}
        (coins,), (dollars,) = (
            ask("glassnode", path, c=c, **span).json() for c in ("native", "usd")
        )
        price = dollars["v"] / coins["v"]
        assert 0.2 < price / sandbox.world.coin["BTC"].price < 5

    @pytest.mark.parametrize(
        ("path", "key", "params", "status"),
        [
            (METRIC, "free", {"a": "BTC"}, 403),
            (METRIC, "invalid", {"a": "BTC"}, 401),
            (METRIC, "key", {"a": "NOSUCH"}, 400),
            (METRIC, "key", {"a": "BTC", "i": "5m"}, 400),
            (METRIC, "key", {}, 400),
            ("/v1/metrics/market/nothing", "key", {"a": "BTC"}, 404),
            ("/v1/metrics/indicators/reserve_risk_pit", "key", {"a": "BTC"}, 404),
        ],
    )
    def test_refusals(
        self, ask: Any, path: str, key: str, params: dict[str, str], status: int
    ) -> None:
        answer = ask("glassnode", path, key, **params)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}

    def test_metadata(self, ask: Any) -> None:
        assert METRIC.removeprefix("/v1/metrics") in ask("glassnode", "/v1/metadata/metrics").json()
        about = ask("glassnode", "/v1/metadata/metric", path="/market/mvrv", a="BTC").json()
        assert about["refs"]["metric_variant"]["pit"] == "/market/mvrv_pit"
        assert int(ask("glassnode", METRIC, a="BTC").headers["x-rate-limit-remaining"]) > 0


class TestCoinMetrics:
    def test_pages_begin_at_the_newest_side_by_default(self, ask: Any) -> None:
        asked = {"assets": "btc", "metrics": "CapMVRVCur", "page_size": 3}
        page = ask("coinmetrics", ROWS, **asked).json()
        assert [row["time"][:10] for row in page["data"]] == [
            "2021-06-12",
            "2021-06-13",
            "2021-06-14",
        ]
        assert "api_key=key" in page["next_page_url"]
        following = httpx.get(page["next_page_url"]).json()
        assert [row["time"][:10] for row in following["data"]][-1] == "2021-06-11"

    def test_following_pages_from_the_start_gives_each_row_once(self, ask: Any) -> None:
        asked = {"assets": "btc,eth", "metrics": "CapMVRVCur,NVTAdj", "start_time": "2021-05-01"}
        page = ask("coinmetrics", ROWS, page_size=7, paging_from="start", **asked).json()
        rows = list(page["data"])
        while "next_page_url" in page:
            page = httpx.get(page["next_page_url"]).json()
            rows += page["data"]
        assert rows == ask("coinmetrics", ROWS, page_size=10_000, **asked).json()["data"]
        assert len({(row["asset"], row["time"]) for row in rows}) == len(rows) == 2 * 45
        assert isinstance(rows[0]["CapMVRVCur"], str)
        assert rows[0]["time"].endswith("T00:00:00.000000000Z")

    def test_an_unreadable_metric_refuses_the_request_unless_ignored(self, ask: Any) -> None:
        asked = {"assets": "btc", "metrics": "CapMVRVCur,SOPR"}
        refused = ask("coinmetrics", ROWS, "free", **asked)
        assert refused.status_code == 403
        assert refused.json()["error"]["type"] == "forbidden"
        assert "SOPR" in refused.json()["error"]["message"]
        rows = ask("coinmetrics", ROWS, "free", ignore_forbidden_errors="true", **asked).json()
        assert all("SOPR" not in row and "CapMVRVCur" in row for row in rows["data"])

    def test_a_metric_an_asset_lacks_is_absent(self, ask: Any) -> None:
        asked = {"assets": "btc,eth", "metrics": "SplyUTXOProf", "limit_per_asset": 1}
        assert ask("coinmetrics", ROWS, **asked).status_code == 400
        rows = ask("coinmetrics", ROWS, ignore_unsupported_errors="true", **asked).json()["data"]
        assert ["SplyUTXOProf" in row for row in rows] == [True, False]

    @pytest.mark.parametrize(
        ("key", "params", "status", "kind"),
        [
            (None, {}, 401, "unauthorized"),
            ("invalid", {}, 401, "wrong_credentials"),
            ("key", {"assets": "nosuch"}, 400, "bad_parameter"),
            ("key", {"metrics": "NoSuch"}, 400, "bad_parameter"),
            ("key", {"start_time": "yesterday"}, 400, "bad_parameter"),
        ],
    )
    def test_refusals(
        self, ask: Any, key: str | None, params: dict[str, str], status: int, kind: str
    ) -> None:
        answer = ask("coinmetrics", ROWS, key, **{"assets": "btc", "metrics": "SOPR", **params})
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)

    def test_catalogues(self, ask: Any) -> None:
        own = ask("coinmetrics", "/v4/catalog-v2/asset-metrics", "free", assets="btc").json()
        every = ask("coinmetrics", "/v4/catalog-all-v2/asset-metrics", "free", assets="btc").json()
        sizes = [len(found["data"][0]["metrics"]) for found in (own, every)]
        assert 0 < sizes[0] < sizes[1]


class TestCryptoQuant:
    def test_a_limit_with_from_selects_the_oldest_rows(self, ask: Any) -> None:
        asked = {"exchange": "all_exchange", "window": "day", "from": "20210101", "limit": 2}
        body = ask("cryptoquant", NETFLOW, **asked).json()
        assert body["status"] == {"code": 200, "message": "success"}
        assert [row["date"] for row in body["result"]["data"]] == ["2021-01-02", "2021-01-01"]

    def test_without_from_the_newest_hundred_are_returned(self, sandbox: Sandbox, ask: Any) -> None:
        rows = ask("cryptoquant", NETFLOW, exchange="all_exchange", window="day").json()
        rows = rows["result"]["data"]
        assert len(rows) == 100
        assert rows[0]["date"] == "2021-06-14"
        told = sandbox.world.series("exchange_netflow", "BTC", np.array([TODAY]))
        assert rows[0]["netflow_total"] == pytest.approx(told[0])

    def test_hours_are_spelled_out_and_fresh_parts_are_null(self, ask: Any) -> None:
        path = "/v1/btc/exchange-flows/inflow"
        asked = {"exchange": "binance", "window": "hour", "from": "20210615T080000"}
        rows = ask("cryptoquant", path, **asked).json()["result"]["data"]
        assert [row["datetime"][11:] for row in rows] == [f"{h:02d}:00:00" for h in (11, 10, 9, 8)]
        assert [row["inflow_top10"] is None for row in rows] == [True, True, False, False]

    @pytest.mark.parametrize(
        ("path", "key", "params", "status"),
        [
            (NETFLOW, None, {}, 401),
            (NETFLOW, "invalid", {}, 401),
            (NETFLOW, "free", {"exchange": "binance", "window": "day"}, 403),
            (NETFLOW, "key", {"window": "day"}, 400),
            (NETFLOW, "key", {"exchange": "binance", "window": "fortnight"}, 400),
            (NETFLOW, "key", {"exchange": "binance", "window": "day", "from": "2021-01-01"}, 400),
            ("/v1/doge/exchange-flows/netflow", "key", {"window": "day"}, 404),
            ("/v1/erc20/exchange-flows/netflow", "key", {"exchange": "binance"}, 400),
        ],
    )
    def test_refusals(
        self, ask: Any, path: str, key: str | None, params: dict[str, str], status: int
    ) -> None:
        answer = ask("cryptoquant", path, key, **params)
        assert (answer.status_code, answer.json()["status"]["code"]) == (status, status)

    def test_discovery(self, ask: Any) -> None:
        found = ask("cryptoquant", "/v1/discovery/endpoints").json()["result"]["data"]
        (netflow,) = [row for row in found if row["path"] == NETFLOW]
        assert netflow["required_parameters"] == ["exchange"]
        own = ask("cryptoquant", "/v1/my/discovery/endpoints", "free").json()["result"]["data"]
        assert own == []


class TestSantiment:
    TYPED = """
        query Volume($slug: String!, $from: DateTime!) {
          getMetric(metric: "social_volume_total") {
            timeseriesData(selector: {slug: $slug}, from: $from, to: "utc_now", interval: "1d") {
              datetime value
            }
          }
        }
    """

    def test_a_query_with_variables(self, sandbox: Sandbox, query: Any) -> None:
        body = query(self.TYPED, slug="bitcoin", **{"from": iso(TODAY - 2 * DAY)}).json()
        rows = body["data"]["getMetric"]["timeseriesData"]
        assert [row["datetime"] for row in rows] == [iso(TODAY - 2 * DAY), iso(TODAY - DAY)]
        told = sandbox.world.series("social_volume", "BTC", np.array([TODAY - DAY, TODAY]))
        assert [row["value"] for row in rows] == pytest.approx(told.tolist())

    def test_an_error_of_one_query_leaves_the_others(self, query: Any) -> None:
        span = 'from: "utc_now-7d", to: "utc_now", interval: "1d"'
        answer = query(
            f'{{ a: getMetric(metric: "nothing") {{ timeseriesDataJson(slug: "bitcoin", {span}) }}'
            f' b: getMetric(metric: "mvrv_usd") {{ timeseriesDataJson(slug: "bitcoin", {span}) }}'
            f' c: getMetric(metric: "mvrv_usd") {{ timeseriesDataJson(slug: "none", {span}) }} }}'
        )
        assert answer.status_code == 200
        data, errors = answer.json()["data"], answer.json()["errors"]
        assert (data["a"], data["c"]) == (None, None)
        assert len(data["b"]["timeseriesDataJson"]) == 6
        assert [error["path"] for error in errors] == [["a"], ["c"]]
        assert errors[1]["message"] == 'The slug "none" is not an existing slug.'

    def test_a_free_plan_is_cut_silently_and_refused_outside(self, query: Any) -> None:
        def rows(since: int, key: str | None) -> Any:
            asked = f'slug: "bitcoin", from: "{iso(since)}", to: "utc_now", interval: "1d"'
            text = f'{{ getMetric(metric: "mvrv_usd") {{ timeseriesDataJson({asked}) }} }}'
            return query(text, key).json()

        whole = rows(TODAY - 60 * DAY, "key")["data"]["getMetric"]["timeseriesDataJson"]
        for key in (None, "free"):
            cut = rows(TODAY - 60 * DAY, key)
            assert "errors" not in cut
            assert cut["data"]["getMetric"]["timeseriesDataJson"] == whole[:30]
        outside = rows(TODAY - 7 * DAY, "free")
        assert "outside the allowed interval" in outside["errors"][0]["message"]

    def test_other_roots(self, query: Any) -> None:
        text = """{ getAvailableMetrics projectBySlug(slug: "ethereum") { slug ticker }
            allProjects(page: 2, pageSize: 3) { slug }
            getMetric(metric: "mvrv_usd") {
              metadata { minInterval } availableSince(slug: "solana") }
            getAccessRestrictions { name isRestricted } }"""
        data = query(text).json()["data"]
        assert "age_consumed" in data["getAvailableMetrics"]
        assert data["projectBySlug"] == {"slug": "ethereum", "ticker": "ETH"}
        assert len(data["allProjects"]) == 3
        assert data["getMetric"]["metadata"] == {"minInterval": "1d"}
        assert data["getMetric"]["availableSince"].startswith("2020-08-11")
        assert {"name": "mvrv_usd", "isRestricted": False} in data["getAccessRestrictions"]

    @pytest.mark.parametrize("text", ["", "{", "{ a(", "{ a(b: ", "mutation", "{ getMetric( }"])
    def test_an_invalid_query_is_refused(self, query: Any, text: str) -> None:
        answer = query(text)
        assert answer.status_code == 400
        assert answer.json()["errors"]

    def test_a_bad_key_and_a_spent_budget(self, sandbox: Sandbox, query: Any) -> None:
        bad = query("{ getAvailableMetrics }", "invalid")
        assert (bad.status_code, "not valid" in bad.text) == (400, True)
        (number,) = sandbox.fault({"kind": "rate_limit", "provider": "santiment", "count": 1})
        spent = query("{ getAvailableMetrics }")
        sandbox.faults.remove(number)
        assert spent.status_code == 429
        assert "API Rate Limit Reached" in spent.json()["errors"]["details"]

    def test_buckets_appear_after_computation(self, sandbox: Sandbox, query: Any) -> None:
        asked = 'slug: "bitcoin", from: "utc_now-3d", to: "utc_now", interval: "1d"'
        text = f'{{ getMetric(metric: "mvrv_usd") {{ timeseriesDataJson({asked}) }} }}'
        for late, newest in ((HOUR, TODAY - 2 * DAY), (2 * HOUR, TODAY - DAY)):
            sandbox.clock.move(TODAY + late, 0)
            rows = query(text).json()["data"]["getMetric"]["timeseriesDataJson"]
            assert rows[-1]["datetime"] == iso(newest)
        sandbox.clock.move(NOW, 0)
