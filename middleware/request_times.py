"""Counts and times the requests of a Flask application."""

import time
from typing import Any

from flask import Flask, Response, g, request

from telemetry import HTTP_REQUEST_SECONDS, HTTP_REQUESTS

#: The route of what no view answers: its path is anybody's text.
NO_ROUTE = "none"


class RequestTimes:
    """The requests of one application, by route template and never by path.

    Args:
        app: The application's name: `web` or `webhook`.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        # Looking labels up costs more than counting.
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def saw(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request, for applications that are not Flask's too."""
        # What no view answers has a method of anybody's choice.
        method = method if route != NO_ROUTE else "any"
        known = self._known.get((method, route, status))
        if known is None:
            labels = (self._app, method, route)
            known = (
                HTTP_REQUESTS.labels(*labels, str(status)),
                HTTP_REQUEST_SECONDS.labels(*labels),
            )
            self._known[method, route, status] = known
        requests, times = known
        requests.inc()
        times.observe(seconds)


def time_requests(app: Flask, name: str) -> None:
    """Count and time every request of an application under this name."""
    times = RequestTimes(name)

    def began() -> None:
        g.request_began = time.perf_counter()

    def ended(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else NO_ROUTE
        seconds = time.perf_counter() - g.request_began
        times.saw(request.method, route, response.status_code, seconds)
        return response

    app.before_request(began)
    app.after_request(ended)
