"""Limit the bodies of requests: the size and time of each, and the memory of all together."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wanworker.rest.http._memory import FreedMemory, trim_of_libc
from wanworker.rest.http.errors import Busy, Slow, TooLarge
from wanworker.rest.http.limits import Limits

#: The key of the body's charge in a request's state.
CHARGE_KEY = "body_charge"

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Charge:
    """
    Count the bytes that one body takes of the budget, until its request ends or the keeper of the body releases it.
    """

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size_bytes = 0
        self._is_kept = False

    def add(self, size_bytes: int) -> None:
        """Charge for more. Raises Busy when all bodies together are too large."""
        self._budget.take(size_bytes)
        self._size_bytes += size_bytes

    def keep(self) -> None:
        """Let the charge outlast its request. Call `release` later."""
        self._is_kept = True

    def request_ended(self) -> None:
        """Release the charge, unless somebody keeps the body."""
        if not self._is_kept:
            self.release()

    def release(self) -> None:
        """Give the bytes back to the budget."""
        self._budget.give_back(self._size_bytes)
        self._size_bytes = 0


class BodyBudget:
    """
    Limit the bytes of all bodies that a server holds to *max_bytes*. Received bytes count, not announced ones.

    *freed* hears of what is given back.
    """

    def __init__(self, max_bytes: int, freed: FreedMemory) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._freed = freed

    def take(self, size_bytes: int) -> None:
        """Count *size_bytes*. Raises Busy if that is too much."""
        if self.used_bytes + size_bytes > self.max_bytes:
            raise Busy(f"The bodies of all current requests together already have {self.max_bytes:,} bytes.")
        self.used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count *size_bytes* no longer."""
        self.used_bytes -= size_bytes
        self._freed.add(size_bytes)


class BodyLimits:
    """Let *app* receive a body within *limits*, else answer 413, 408 or 503. A request without a body is passed on."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._budget = BodyBudget(limits.bodies_bytes, FreedMemory(trim_of_libc()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a charge in its state."""
        if scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return
        charge = Charge(self._budget)
        scope.setdefault("state", {})[CHARGE_KEY] = charge
        try:
            await self._app(scope, self._bounded(receive, charge), send)
        finally:
            charge.request_ended()

    def _bounded(self, receive: Receive, charge: Charge) -> Receive:
        limits = self._limits
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limits.body_s
        received, is_whole = 0, False

        async def bounded() -> Message:
            nonlocal received, is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline + received / limits.body_rate):
                    message = await receive()
            except TimeoutError:
                text = f"The body did not come within {limits.body_s:g} s, and one more for each"
                raise Slow(f"{text} {limits.body_rate:,} bytes.") from None
            is_whole = not message.get("more_body", False)
            size = len(message.get("body", b""))
            received += size
            if received > limits.body_bytes:
                raise too_large(limits.body_bytes)
            charge.add(size)
            return message

        return bounded


def too_large(max_bytes: int) -> TooLarge:
    """Return the refusal of a body over *max_bytes*."""
    return TooLarge(f"The body is larger than {max_bytes:,} bytes.")
