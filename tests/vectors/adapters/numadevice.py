"""Vectors of NUMA zones and devices: so far how hints are merged."""

from koordinator.scheduler.engine.hooks import Hint
from koordinator.scheduler.numa.hints import Zones, gathered, mask_of, zones_of
from koordinator.scheduler.numa.merge import merged


def hint(raw):
    zones = raw["numaNodes"]
    return Hint(None if zones is None else mask_of(zones), raw["preferred"], raw["score"])


def provider(raw):
    if raw is None:
        return None
    return {resource: None if hints is None else [hint(one) for one in hints] for resource, hints in raw.items()}


def hint_merge(case):
    status = tuple(enumerate(case["numaStatus"]))
    zones = Zones(tuple(case["numaNodes"]), case["singleNUMANodeExclusive"], status)
    answer = merged(case["policy"], gathered(provider(one) for one in case["providers"]), zones)
    found = answer.hint
    return {
        "affinity": None if found.affinity is None else zones_of(found.affinity),
        "preferred": found.preferred,
        "unsatisfied": found.unsatisfied,
        "admit": answer.admitted,
        "reasons": list(answer.reasons),
    }


ADAPTERS = {"hint-merge": hint_merge}
