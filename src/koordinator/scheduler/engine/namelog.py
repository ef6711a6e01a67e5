"""Names of what has changed, in order: whoever keeps answers learns which of them to work out again."""


class NameLog:
    """``position`` counts the changes; ``since`` names what has changed after a position."""

    __slots__ = ("_base", "_most", "_names")

    def __init__(self, most: int = 65_536) -> None:
        self._names: list[str] = []
        self._base = 0
        self._most = most

    @property
    def position(self) -> int:
        return self._base + len(self._names)

    def add(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) > self._most:
            half = len(self._names) // 2
            del self._names[:half]
            self._base += half

    def since(self, position: int) -> set[str] | None:
        """None when that is too long ago to tell."""
        start = position - self._base
        return None if start < 0 else set(self._names[start:])
