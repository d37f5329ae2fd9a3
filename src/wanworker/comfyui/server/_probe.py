"""Find out whether ComfyUI answers at an address, and explain why not."""

from __future__ import annotations

import asyncio

from yarl import URL

from wanworker.comfyui.client.connection import NOT_RESPONDING, ServerRefused, Unreachable
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineFailed, EngineUnavailable


class ServerProbe:
    """Ask the server at *url* for /system_stats. *is_ours_to_start* changes the advice for a port of this machine."""

    def __init__(
        self, url: str, *, token: str | None, connect_s: float, answer_s: float, is_ours_to_start: bool
    ) -> None:
        self._url = URL(url)
        self._client = ComfyClient(url, token=token, connect_s=connect_s, answer_s=answer_s)
        self._is_ours_to_start = is_ours_to_start

    async def ask(self) -> None:
        """Return if ComfyUI answers. Raises Unreachable (nothing listens) or EngineUnavailable (any other failure)."""
        try:
            told = await self._client.system_stats()
        except ServerRefused as error:
            raise self._foreign(f"HTTP {error.answered}", error.hint) from error
        except EngineFailed as error:
            raise self._foreign("no JSON object", error.hint) from error
        if not {"system", "devices"} <= told.keys():
            raise self._foreign("an object without system and devices", None)

    async def is_taken(self) -> bool:
        """
        Say whether ComfyUI answers; False means that nothing listens. Raises EngineUnavailable if another program does.
        """
        try:
            await self.ask()
        except Unreachable:
            return False
        return True

    async def is_up(self) -> bool:
        """Say whether ComfyUI answers yet. Raises EngineUnavailable only if another program answers."""
        try:
            return await self.is_taken()
        except EngineUnavailable as error:
            if str(error) != NOT_RESPONDING:
                raise
            return False  # it listens, but is too busy to answer

    async def listens(self) -> bool:
        """Say whether anything listens there. The kernel answers this even if the server is too busy."""
        try:
            _, writer = await asyncio.open_connection(self._url.host, self._url.port)
        except OSError:
            return False
        writer.close()
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _foreign(self, answer: str, hint: str | None) -> EngineUnavailable:
        advice = "End the program that has this port, or set COMFYUI_PORT." if self._is_ours_to_start else hint
        message = f"{NOT_RESPONDING}. Something else is at its address: it answers /system_stats with {answer}."
        return EngineUnavailable(message, hint=advice or "Check the ComfyUI address.")
