"""How far one watch has come against another: the order of resource versions, for the barrier after a change of leaders."""


def reached(current: str, target: str) -> bool:
    """Whether ``current`` is ``target`` or later. Versions are numbers of any length."""
    if len(current) != len(target):
        return len(current) > len(target)
    return current >= target
