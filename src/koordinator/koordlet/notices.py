"""Say a thing once. Loops that run every second meet the same trouble every second; people want its start and its end."""

import logging
from typing import Any, Protocol

from koordinator.api.meta import Object

_LIMIT = 10_000


class Recorder(Protocol):
    """``kube.events.Recorder``, as far as we use it."""

    def event(self, obj: Any, type_: str, reason: str, message: str) -> None: ...


class Notices:
    """Warnings by key: logged when new or changed, and once more when the trouble is over."""

    def __init__(self, log: logging.Logger, recorder: Recorder | None = None) -> None:
        self._log, self._recorder = log, recorder
        self._said: dict[str, str] = {}

    def say(self, key: str, message: str, obj: Object | None = None, reason: str = "") -> None:
        """Warn, unless this very thing has been said and not been cleared since. With ``obj``, record an event on it too."""
        if self._said.get(key) == message:
            return
        if len(self._said) >= _LIMIT:
            self._said.clear()
        self._said[key] = message
        self._log.warning("%s", message)
        if self._recorder is not None and obj is not None:
            self._recorder.event(obj, "Warning", reason, message)

    def over(self, key: str, message: str = "") -> None:
        """The trouble is gone."""
        if self._said.pop(key, None) is not None and message:
            self._log.info("%s", message)

    def __contains__(self, key: str) -> bool:
        return key in self._said
