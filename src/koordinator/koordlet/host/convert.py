"""CPU amounts in the kernel's units: shares, weights, quotas. The formulas are the kubelet's: both write the same numbers."""

MIN_SHARES, MAX_SHARES = 2, 262_144
MIN_WEIGHT, MAX_WEIGHT = 1, 10_000
CFS_PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
UNLIMITED = -1
MAX_INT64 = 2**63 - 1
_V1_NO_LIMIT = 0x7FFF_FFFF_FFFF_F000


def milli_to_shares(milli: int) -> int:
    """``cpu.shares`` of a request in milli-CPU."""
    return MIN_SHARES if milli <= 0 else min(max(milli * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def milli_to_quota(milli: int) -> int:
    """``cpu.cfs_quota_us`` of a limit in milli-CPU at the usual period; -1 when there is no limit."""
    return UNLIMITED if milli <= 0 else max(milli * CFS_PERIOD_US // 1000, MIN_QUOTA_US)


def shares_to_weight(shares: int) -> int:
    """``cpu.weight`` (v2) of ``cpu.shares`` (v1). Raises ValueError outside 2..262144."""
    if not MIN_SHARES <= shares <= MAX_SHARES:
        raise ValueError(f"cpu.shares {shares} is not within {MIN_SHARES}..{MAX_SHARES}")
    return min(max(1 + (shares - 2) * 9999 // 262_142, MIN_WEIGHT), MAX_WEIGHT)


def weight_to_shares(weight: int) -> int:
    """``cpu.shares`` (v1) of ``cpu.weight`` (v2). Raises ValueError outside 1..10000."""
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise ValueError(f"cpu.weight {weight} is not within {MIN_WEIGHT}..{MAX_WEIGHT}")
    return min(max((weight - 1) * 262_142 // 9999 + 2, MIN_SHARES), MAX_SHARES)


def cpu_max_quota(content: str) -> int:
    """Quota of a v2 ``cpu.max``, -1 for ``max``. Raises ValueError."""
    quota, _ = _cpu_max_fields(content)
    return UNLIMITED if quota == "max" else int(quota)


def cpu_max_period(content: str) -> int:
    """Period of a v2 ``cpu.max``. Raises ValueError."""
    return int(_cpu_max_fields(content)[1])


def _cpu_max_fields(content: str) -> list[str]:
    fields = content.split()
    if len(fields) != 2:
        raise ValueError(f"cpu.max has {len(fields)} fields, must have 2: {content!r}")
    return fields


def memory_limit(content: str, version: int) -> int:
    """Bytes, -1 for no limit. The v1 kernel writes a huge page-aligned number instead of ``max``."""
    text = content.strip()
    if version == 2 and text == "max":
        return UNLIMITED
    limit = int(text)
    return UNLIMITED if version == 1 and limit >= _V1_NO_LIMIT else limit


def bound(text: str) -> float:
    """A limit as a number to compare: ``max`` and negative mean infinity. Reads v2 ``cpu.max`` content too."""
    first = text.split(maxsplit=1)[0] if text.split() else text
    if first == "max":
        return float("inf")
    number = int(first)
    return float("inf") if number < 0 or number == MAX_INT64 else number
