"""The providers' protocols: one module (or package) per provider, found by being here.

How to add one. Make ``protocols/<provider>.py`` (names with a leading ``_`` are not looked at)
with a global ``api``; the API then stands below ``http://127.0.0.1:PORT/<provider>/``. In full::

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
        # A row stamped with the start of its day is known at the end of it.
        values = ask.world.series(ask.path["metric"], coin, days + DAY)
        return [{"t": t // 1_000_000, "v": v} for t, v in zip(days.tolist(), values.tolist())]

What a handler has to know:

- `Ask.now` is the only time there is. Nothing that becomes known after it may be told; a row that
  covers a span may be told from the span's end on (and the last one unfinished, where the real API
  does that).
- It runs in a thread, and must be a function of the world and its `Ask` alone.
- It returns JSON (lists, dicts, NumPy arrays) or an `Answer`, and raises `Refusal` to refuse: with
  a `Problem`, which goes through the API's `errors`, or with an `Answer` of its own.
- Keys, rate limits, their headers and 429 are done before it is called. ``plan=True`` on a route
  refuses keys that begin with ``free``; ``costs={"minute": 5}`` makes it dearer.
- `World.series` serves any name; add a recipe to `recipes` for a metric that shall mean something
  (the table there states every lead and lag). `World.news` has texts, `World.candles` prices,
  `World.derivatives` funding, open interest and liquidations. `paging` has cursors and pages.
- WebSockets: ``@api.socket("/ws")`` on a coroutine function of `Session`, which receives, pushes
  and keeps alive; `binance.streams` is the long example, `coinbase` the short one.
- All faults work on a new module at once, without anything in it.
"""
