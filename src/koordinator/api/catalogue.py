"""Every label and annotation of the protocol with its accessor, for reference pages and for whoever must know them all."""

from types import ModuleType

from koordinator.api import (
    deviceshare,
    eviction,
    gang,
    nodes,
    numa,
    podqos,
    priority,
    quota,
    reservation,
    scheduling,
)
from koordinator.api.annotations import Accessor, Annotation, Choice, Flag, Plain, Text
from koordinator.api.sloconfig import nodeslo, resolve

SECTIONS: tuple[tuple[str, tuple[ModuleType, ...]], ...] = (
    ("Quality of service", (podqos, priority)),
    ("Eviction and preemption", (eviction,)),
    ("Scheduling and descheduling", (scheduling,)),
    ("Reservations", (reservation,)),
    ("CPUs and NUMA zones", (numa,)),
    ("Devices", (deviceshare,)),
    ("Gangs and network topology", (gang,)),
    ("Elastic quotas", (quota,)),
    ("Co-location, normalization, amplification", (resolve, nodes, nodeslo)),
)


def accessors() -> dict[str, list[Accessor]]:
    """Section → its accessors, in the order in which modules declare them."""
    return {title: [one for module in modules for one in _declared(module)] for title, modules in SECTIONS}


def _declared(module: ModuleType) -> list[Accessor]:
    found = [value for value in vars(module).values() if isinstance(value, Annotation | Text | Flag | Choice | Plain)]
    return [one for one in found if one.on]
