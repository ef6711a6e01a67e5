"""Warning events about objects that cannot be read: once per new problem, not once per pass."""

from collections.abc import Callable

from koordinator.api.meta import Object

Tell = Callable[[Object, str, str], None]
"""Raise a Warning event: object, reason, message."""


class Complaints:
    """Remembers what was said about each object."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: dict[tuple[str, str, str, str], str] = {}

    def about(self, obj: Object, reason: str, problem: str, part: str = "") -> None:
        """Say ``problem`` if it is new; an empty one means that all is well again, with this ``part`` of the object."""
        key = (obj.kind, obj.key, reason, part)
        if not problem:
            self._told.pop(key, None)
        elif self._told.get(key) != problem:
            self._told[key] = problem
            self._tell(obj, reason, problem)

    def forget(self, obj: Object) -> None:
        """The object is gone."""
        for key in [key for key in self._told if key[:2] == (obj.kind, obj.key)]:
            del self._told[key]
