"""Numbers in labels and annotations, read as strictly as other readers of the protocol do.

``int()`` and ``float()`` accept spaces, underscores and digits of every script; here such a text is an error, so that all
components agree on which texts are numbers.
"""

import re

_DECIMAL = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
_PREFIXED = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])+|[1-9](?:_?[0-9])*|0)\Z"
)
_FLOAT = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)\Z", re.ASCII | re.IGNORECASE)
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+\Z", re.ASCII)
_MAX_DIGITS = 70  # more cannot fit 64 bits in any base; keeps hostile texts cheap
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def decimal_int(text: str, bits: int = 64) -> int:
    """A decimal integer. Raises ValueError when it is none, or does not fit ``bits`` bits."""
    if not _DECIMAL.match(text):
        raise ValueError(f"{text!r} is not an integer")
    significant = text.lstrip("+-").lstrip("0")
    if len(significant) > _MAX_DIGITS:
        raise ValueError(f"{text[:20]!r}… does not fit {bits} bits")
    return _in_range(text, -int(significant or "0") if text[0] == "-" else int(significant or "0"), bits)


def int32(text: str) -> int:
    """A decimal integer of 32 bits. Raises ValueError."""
    return decimal_int(text, 32)


def prefixed_int32(text: str) -> int:
    """A 32-bit integer, decimal or with a prefix such as ``0x``. Raises ValueError."""
    return prefixed_int(text, 32)


def prefixed_int(text: str, bits: int = 64) -> int:
    """An integer of ``bits`` bits, with ``0x``, ``0o``, ``0b`` or ``0`` in front, ``_`` between digits. Raises ValueError."""
    if not _PREFIXED.match(text) or len(text) > _MAX_DIGITS:
        raise ValueError(f"{text[:80]!r} is not an integer")
    digits = text.lstrip("+-").replace("_", "")
    base = 8 if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit() else 0
    number = int(digits, base)
    return _in_range(text, -number if text[0] == "-" else number, bits)


def decimal_float(text: str) -> float:
    """A decimal, exponent or hexadecimal float, ``inf`` or ``nan``. Raises ValueError."""
    if _FLOAT.match(text):
        number = float(text)
        if number in (float("inf"), float("-inf")) and "inf" not in text.lower():
            raise ValueError(f"{text!r} is out of range")
        return number
    if _HEX_FLOAT.match(text):
        try:
            return float.fromhex(text)
        except OverflowError as err:
            raise ValueError(f"{text!r} is out of range") from err
    raise ValueError(f"{text!r} is not a number")


def boolean(text: str) -> bool:
    """``1 t T TRUE true True`` or ``0 f F FALSE false False``. Raises ValueError."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _in_range(text: str, number: int, bits: int) -> int:
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"{text!r} does not fit {bits} bits")
    return number
