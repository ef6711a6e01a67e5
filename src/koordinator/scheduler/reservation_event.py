"""The second event of a pod that asked for a reservation: of the failure message, what is about reservations, counted anew."""

import re

from koordinator.api import keys
from koordinator.api.core import Pod

REASON = "FailedScheduling-Reservation"
_NODES = re.compile(r"^0/\d+ nodes are available: ")
_TOTAL = re.compile(r"^(\d+) Reservation\(s\) matched owner total$")
_FOR_NODE = re.compile(r"^\d+ Reservation\(s\) for node reason that .*$")
_BY_NAME = re.compile(r"^\d+ Reservation\(s\) exactly matches the requested reservation name$")
_ANY = re.compile(r"^\d+ Reservation\(s\) .*$")


def wanted(pod: Pod) -> bool:
    """Whether the pod asked for a reservation."""
    return keys.RESERVATION_AFFINITY in (pod.metadata.annotations or {})


def message(text: str) -> str | None:
    """The event's text; None when the failure says nothing of reservations."""
    total, head, body, tail = "", [], [], []
    for item in _items(text):
        if found := _TOTAL.match(item):
            total = found[1]
        elif _FOR_NODE.match(item):
            tail.append(item)
        elif _BY_NAME.match(item):
            head.append(item)
        elif _ANY.match(item):
            body.append(item)
    return f"0/{total} reservations are available: {', '.join([*head, *body, *tail])}." if total else None


def _items(text: str) -> list[str]:
    """The counted reasons, one by one."""
    return [item.strip(" .") for item in _NODES.sub("", text).replace(". ", ", ").split(",")]
