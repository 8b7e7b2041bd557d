"""Alternative.me: the Fear & Greed Index, a value a day, newest first, every number a text."""

import csv
import io

import numpy as np

from weft.foundation.times import DAY, SECOND, to_datetime
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.protocol import Answer, Api, Ask, Json, Problem

_STATUS = {
    Problem.BAD_PARAMETER: 400,
    Problem.NOT_FOUND: 404,
    Problem.RATE_LIMITED: 429,
    Problem.SERVER: 500,
}
_FORMATS = {"us": "%m-%d-%Y", "cn": "%Y-%m-%d", "kr": "%Y-%m-%d", "world": "%d-%m-%Y"}
_CLASSES = ((25, "Extreme Fear"), (46, "Fear"), (55, "Neutral"), (76, "Greed"))


def _errors(problem: Problem, detail: str) -> Answer:
    status = _STATUS.get(problem, 403)
    wait = {"Retry-After": detail} if status == 429 else {}
    body = {"name": "Fear and Greed Index", "data": None, "metadata": {"error": f"{problem}"}}
    return Answer(body, status, wait)


api = Api("alternative_me", errors=_errors, budgets=(Budget("ten minutes", 600, 600),))


@api.get("/fng/")
def index(ask: Ask) -> Json:
    """Return the index of the last days, each stamped with the midnight of its publication."""
    limit = ask.integer("limit", 1, low=0)
    shape = ask.text("format", "json", choices=("json", "csv"))
    dates = _FORMATS.get(ask.query.get("date_format") or "")
    newest = ask.now // DAY * DAY
    days = np.arange(newest, OPENING, -DAY)
    days = days[:limit] if limit else days
    values = np.rint(ask.world.series("fear_greed", None, days)).astype(int)
    rows = [
        {
            "value": str(value),
            "value_classification": _class_of(value),
            "timestamp": to_datetime(day).strftime(dates) if dates else str(day // SECOND),
        }
        for day, value in zip(days.tolist(), values.tolist(), strict=True)
    ]
    if shape == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([list(row.values()) for row in rows])
        return Answer(text.getvalue().encode(), media_type="text/csv")
    if rows:
        rows[0]["time_until_update"] = str((newest + DAY - ask.now) // SECOND)
    return {"name": "Fear and Greed Index", "data": rows, "metadata": {"error": None}}


def _class_of(value: int) -> str:
    return next((name for below, name in _CLASSES if value < below), "Extreme Greed")
