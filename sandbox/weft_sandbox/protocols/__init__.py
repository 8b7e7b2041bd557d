"""The providers' protocols: one module or package for each vendor, discovered by location.

To add a protocol, write ``protocols/<provider>.py`` (names with a leading ``_`` are skipped) with
a global ``api``; the sandbox serves it below ``http://127.0.0.1:PORT/<provider>/``. In full::

    import numpy as np

    from weft.foundation.times import DAY
    from weft_sandbox.limits import Budget
    from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem

    def _errors(problem: Problem, detail: str) -> Answer:
        status = {Problem.BAD_PARAMETER: 400, Problem.NOT_FOUND: 404, Problem.RATE_LIMITED: 429,
                  Problem.PLAN: 403, Problem.SERVER: 500}.get(problem, 401)
        wait = {"Retry-After": detail} if status == 429 else {}
        return Answer({"error": f"{problem} {detail}"}, status, wait)

    api = Api(
        "example",
        errors=_errors,
        key=Key(header="X-Api-Key"),
        budgets=(Budget("minute", 60, 60),),
        headers=lambda meters: {"X-Remaining": str(meters["minute"].left)},
    )

    @api.get("/v1/metrics/{metric}")
    def metric(ask: Ask) -> Json:
        coin = ask.text("a", choices=tuple(ask.world.coin))
        until = min(ask.instant("u", ask.now, unit=1_000_000), ask.now) // DAY * DAY
        since = ask.instant("s", until - 30 * DAY, unit=1_000_000)
        days = np.arange(-(-since // DAY) * DAY, until, DAY)
        # A row stamped with the start of its day is known at the end of the day.
        values = ask.world.series(ask.path["metric"], coin, days + DAY)
        return [{"t": t // 1_000_000, "v": v} for t, v in zip(days.tolist(), values.tolist())]

Rules for handlers:

- Use only `Ask.now` as time. Return nothing that becomes known later: a row of a span appears at
  the end of the span (or unfinished before, if the real API does that).
- A handler runs in a thread, and must be a function of the world and its `Ask` only.
- It returns JSON (lists, dicts, NumPy arrays) or an `Answer`, and raises `Refusal` to refuse: with
  a `Problem`, which the API's `errors` maps to a response, or with an `Answer`.
- Keys, rate limits, their headers and status 429 are handled before the call. ``plan=True`` on a
  route refuses keys that begin with ``free``; ``costs={"minute": 5}`` raises its cost.
- `World.series` serves any name; add a recipe to `market.recipes` for a metric with information
  (the table there states every lead and lag). `World.news` has texts, `World.candles` prices,
  `World.derivatives` funding, open interest and liquidations. `paging` has cursors and pages.
- WebSockets: ``@api.socket("/ws")`` on a coroutine function of `Session`, which receives, pushes
  and keeps alive; `binance.streams` is the long example, `coinbase` the short one.
- All faults work on a new module without any code in the module.
"""
