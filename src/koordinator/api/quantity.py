"""Kubernetes quantities: the only place that knows suffixes.

A quantity is an exact number of nano-units plus the format it was written in.
"""

import re
from functools import lru_cache

import msgspec

NANO = 10**9
_MAX_BINARY = (2**63 - 1) * NANO
_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?(.*)", re.DOTALL)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)\Z")


class Quantity(msgspec.Struct, frozen=True):
    """An exact amount. ``nano`` is the value times 10⁹; ``format`` is DecimalSI, BinarySI or DecimalExponent."""

    nano: int
    format: str = "DecimalSI"

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _away_from_zero(self.nano, NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _away_from_zero(self.nano, NANO // 1000)


def _away_from_zero(number: int, divisor: int) -> int:
    size = -(-abs(number) // divisor)
    return size if number >= 0 else -size


@lru_cache(maxsize=65_536)
def parse(text: str) -> Quantity:
    """Read a quantity. Raises ValueError with the reason."""
    match = _SHAPE.fullmatch(text)
    if match is None or not text:
        raise ValueError("quantities must not be empty")
    sign, whole, _, fraction, suffix = match.groups()
    fraction = fraction or ""
    if not (whole or fraction):
        raise ValueError("unable to parse numeric part of quantity")
    if suffix in _DECIMAL:
        form, scale, binary = "DecimalSI", _DECIMAL[suffix], 0
    elif suffix in _BINARY:
        form, scale, binary = "BinarySI", 0, _BINARY[suffix]
    elif exponent := _EXPONENT.match(suffix):
        form, scale, binary = "DecimalExponent", int(exponent[1]), 0
    else:
        raise ValueError("unable to parse quantity's suffix")
    digits = int(whole + fraction) << binary
    power = scale + 9 - len(fraction)
    nano = digits * 10**power if power >= 0 else -(-digits // 10**-power)
    if form == "BinarySI":
        nano = min(nano, _MAX_BINARY)
        if 0 < nano < NANO:
            form = "DecimalSI"
    return Quantity(-nano if sign == "-" else nano, form)


def milli_value(raw: str | float) -> int:
    """Thousandths of a quantity on the wire (text or JSON number), rounded away from zero. Raises ValueError."""
    return parse(raw if isinstance(raw, str) else repr(raw)).milli


def value(raw: str | float) -> int:
    """Whole units of a quantity on the wire (text or JSON number), rounded away from zero. Raises ValueError."""
    return parse(raw if isinstance(raw, str) else repr(raw)).value
