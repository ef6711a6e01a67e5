"""Which of two versions of an object is the younger. Versions are numbers of any length."""


def order(version: str) -> tuple[int, str]:
    """Sorts as the versions came."""
    return len(version), version


def reached(current: str, target: str) -> bool:
    """Whether ``current`` is ``target`` or later."""
    return order(current) >= order(target)
