"""Which of two versions of an object is the younger."""


def reached(current: str, target: str) -> bool:
    """Whether ``current`` is ``target`` or later. Versions are numbers of any length."""
    return _order(current) >= _order(target)


def _order(version: str) -> tuple[int, str]:
    return len(version), version
