"""Answer those who play with a policy: whoever waits is served by one call.

    clients ─► doors ─► one waiting request of each session ─► one call of the policy ─► answers

While the policy thinks, requests queue up; the next call serves all of them. Every request has an
answer, whatever is wrong with it, and nothing that a client sends ends the server.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import zmq

from nitrogen_train.serving.doors import Answer, Door, Request
from nitrogen_train.serving.sessions import Sessions, Sight

_log = logging.getLogger(__name__)
_WAIT_MS = 100
_NUM_TIMES = 1000
"""Calls of the policy that its times are quoted of."""


class Server:
    """Answers what comes in at its doors."""

    def __init__(self, sessions: Sessions, doors: Sequence[Door], *, info: dict[str, Any]) -> None:
        """Prepare; `serve` begins.

        Args:
            sessions: The policy, and those who play with it.
            doors: They are open.
            info: What clients may know of the policy.
        """
        self._sessions, self._doors, self._info = sessions, doors, info
        self._times_ms: deque[float] = deque(maxlen=_NUM_TIMES)
        self._begun = time.monotonic()
        self.num_plans = 0
        self.num_errors = 0
        self.is_told_to_end = False

    def serve(self) -> None:
        """Answer until told to end; Ctrl-C unwinds it."""
        while not self.is_told_to_end:
            self.serve_once()

    def serve_once(self) -> None:
        """Wait a moment for requests, and answer what has come."""
        poller = zmq.Poller()
        for door in self._doors:
            for each in door.sockets():
                poller.register(each, zmq.POLLIN)
        has_more = any(door.has_more for door in self._doors)
        if not poller.poll(0 if has_more else _WAIT_MS) and not has_more:
            return
        waiting: dict[str, Request] = {}
        for door in self._doors:
            for request in door.receive():
                if request.session in waiting:
                    # It has seen more than the plan that it waits for is of.
                    self._plan(waiting)
                self._take(request, waiting)
        self._plan(waiting)
        for door in self._doors:
            for session in door.find_left():
                self._sessions.forget(session)

    def _take(self, request: Request, waiting: dict[str, Request]) -> None:
        """Answer a request at once, or let it wait for the next call of the policy."""
        try:
            if request.kind == "reset":
                self._sessions.reset(request.session, game=request.game)
            elif request.picture is not None:
                self._sessions.observe(
                    Sight(session=request.session, picture=request.picture, game=request.game)
                )
            if request.kind == "predict":
                waiting[request.session] = request
            else:
                info = {"info": self._info, "health": self.measure_health()}.get(request.kind, {})
                request.answer(Answer(info=info))
        except Exception as error:  # noqa: BLE001 - a client's mistake is the client's
            self._refuse(request, error)

    def _plan(self, waiting: dict[str, Request]) -> None:
        """Call the policy for those who wait, and answer them."""
        if not waiting:
            return
        start = time.perf_counter()
        try:
            chunks = self._sessions.plan(list(waiting))
        except Exception as error:  # noqa: BLE001 - the others may play on
            _log.warning("the policy failed: %s", error)
            for request in waiting.values():
                self._refuse(request, error)
        else:
            self._times_ms.append(1000 * (time.perf_counter() - start))
            self.num_plans += len(waiting)
            for request, rows in zip(waiting.values(), chunks, strict=True):
                request.answer(Answer(rows=rows))
        waiting.clear()

    def _refuse(self, request: Request, error: Exception) -> None:
        self.num_errors += 1
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        request.answer(Answer(message=" ".join(f"{kind}{error}".split())))

    def measure_health(self) -> dict[str, Any]:
        """Tell how the server is: who plays, and how long the policy takes, in milliseconds."""
        times = np.array(self._times_ms or [np.nan])
        p50, p95, p99 = (float(np.quantile(times, share)) for share in (0.5, 0.95, 0.99))
        known = {"p50": p50, "p95": p95, "p99": p99} if self._times_ms else {}
        return {
            "up_s": round(time.monotonic() - self._begun, 1),
            "sessions": len(self._sessions),
            "plans": self.num_plans,
            "errors": self.num_errors,
            "policy_ms": {name: round(value, 2) for name, value in known.items()},
        }

    def close(self) -> None:
        """Close the doors."""
        for door in self._doors:
            door.close()
