"""Kubernetes quantities: the only place that knows suffixes.

A quantity is an exact number of nano-units, the format it was written in, and, where the API server would keep it, the very
text it was written as (``1.500`` stays ``1.500`` until someone calculates with it). Quantities compare by number, not by text.

Source: Kubernetes apimachinery ``resource.Quantity`` behaviour; vectors protocol-quantity.json.
"""

import re
from functools import lru_cache

import msgspec

NANO = 10**9
MILLI = NANO // 1000
DECIMAL_SI = "DecimalSI"
BINARY_SI = "BinarySI"
DECIMAL_EXPONENT = "DecimalExponent"

_MAX_BINARY = (2**63 - 1) * NANO
_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(.*)", re.DOTALL)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)\Z")
_SUFFIX_CHARS = re.compile(r"[eEinumkKMGTP]*[-+]?[0-9]*\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_SUFFIX = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_MAX_EXPONENT = 1000  # beyond this a text is hostile, not a quantity: 1e999999999 must not cost a gigabyte
_USUAL_LENGTH = 32  # longer texts are rare, and remembering hostile ones would cost memory
_BAD_SHAPE = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_BAD_SUFFIX = "unable to parse quantity's suffix"
_BAD_NUMBER = "unable to parse numeric part of quantity"


class Quantity(msgspec.Struct, frozen=True, eq=False):
    """An exact amount. ``nano`` is the value times 10⁹; ``verbatim`` is the text it was read from, "" when that is not kept."""

    nano: int
    format: str = DECIMAL_SI
    verbatim: str = ""

    def __eq__(self, other: object) -> bool:
        return self.nano == other.nano if isinstance(other, Quantity) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.nano)

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __le__(self, other: "Quantity") -> bool:
        return self.nano <= other.nano

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __str__(self) -> str:
        """The text on the wire: as read where that is kept, canonical otherwise."""
        return self.verbatim or self.canonical

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _away_from_zero(self.nano, NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _away_from_zero(self.nano, MILLI)

    @property
    def canonical(self) -> str:
        """The one text that every equal quantity of this format has."""
        return _canonical(self.nano, self.format)


ZERO = Quantity(0)


def of(value: int, form: str = DECIMAL_SI) -> Quantity:
    """A quantity of whole units."""
    return Quantity(value * NANO, form)


def of_milli(value: int, form: str = DECIMAL_SI) -> Quantity:
    """A quantity of thousandths."""
    return Quantity(value * MILLI, form)


def parse(text: str) -> Quantity:
    """Read a quantity. Raises ValueError with the reason."""
    return _remembered(text) if len(text) <= _USUAL_LENGTH else _parsed(text)


@lru_cache(maxsize=65_536)
def _remembered(text: str) -> Quantity:
    return _parsed(text)


def _parsed(text: str) -> Quantity:
    match = _SHAPE.fullmatch(text)
    if match is None or text == "":
        raise ValueError(_BAD_SHAPE)
    sign, whole, fraction, suffix = match[1], match[2].lstrip("0") or "0", match[3] or "", match[4]
    form, scale, binary = _read_suffix(suffix)
    if not (match[2] or fraction):
        raise ValueError(_BAD_NUMBER)
    digits = int(whole + fraction) << binary
    power = scale + 9 - len(fraction)
    nano = digits * 10**power if power >= 0 else -(-digits // 10**-power)
    kept = text if _kept_verbatim(whole, fraction, scale, binary) else ""
    if form == BINARY_SI:
        nano = min(nano, _MAX_BINARY)
        if 0 < nano < NANO:
            form = DECIMAL_SI
    return Quantity(-nano if sign == "-" else nano, form, kept)


def read(raw: str | float) -> Quantity:
    """A quantity on the wire: text (spaces around it do not matter) or a JSON number. Raises ValueError."""
    return parse(raw.strip() if isinstance(raw, str) else repr(raw))


def milli_value(raw: str | float) -> int:
    """Thousandths of a quantity on the wire, rounded away from zero. Raises ValueError."""
    return read(raw).milli


def value(raw: str | float) -> int:
    """Whole units of a quantity on the wire, rounded away from zero. Raises ValueError."""
    return read(raw).value


def scale(amount: Quantity, factor: float) -> Quantity:
    """``amount`` × ``factor`` in whole units, truncated; the format is kept."""
    return of(int(amount.value * factor), amount.format)


def scale_milli(amount: Quantity, factor: float) -> Quantity:
    """``amount`` × ``factor`` in thousandths, truncated; the format is kept."""
    return of_milli(int(amount.milli * factor), amount.format)


def differs(old: Quantity | None, new: Quantity | None, threshold: float) -> bool:
    """Whether ``new`` is away from ``old`` by more than ``threshold`` times ``old``, or only one of them is there."""
    if old is None or new is None:
        return old is not new
    return abs(new.milli - old.milli) > old.milli * threshold


def _read_suffix(suffix: str) -> tuple[str, int, int]:
    """Format, decimal exponent and binary shift of a suffix. Raises ValueError."""
    if (power := _DECIMAL.get(suffix)) is not None:
        return DECIMAL_SI, power, 0
    if (shift := _BINARY.get(suffix)) is not None:
        return BINARY_SI, 0, shift
    if exponent := _EXPONENT.match(suffix):
        if len(exponent[1]) > 5 or abs(int(exponent[1])) > _MAX_EXPONENT:
            raise ValueError(_BAD_SUFFIX)
        return DECIMAL_EXPONENT, int(exponent[1]), 0
    raise ValueError(_BAD_SUFFIX if _SUFFIX_CHARS.match(suffix) else _BAD_SHAPE)


def _kept_verbatim(whole: str, fraction: str, scale: int, binary: int) -> bool:
    """Whether the API server keeps this text. ``whole`` comes without leading zeros, at least ``0``."""
    if binary:
        short = len(whole) + int(binary * 3 / 10) + 1 <= 15
        return not fraction and short and int(whole) % 8 != 0
    digits, power = whole + fraction, scale - len(fraction)
    if len(digits) > 18 or power < -9 or power % 3:
        return False
    return digits[0] != "0" and not digits.endswith("000")


def _canonical(nano: int, form: str) -> str:
    if nano == 0:
        return "0"
    if form == BINARY_SI and abs(nano) >= 1024 * NANO and nano % NANO == 0:
        return _binary_text(nano // NANO)
    mantissa, power = nano, -9
    while mantissa % 10 == 0:
        mantissa, power = mantissa // 10, power + 1
    mantissa, power = mantissa * 10 ** (power % 3), power - power % 3
    if form != DECIMAL_EXPONENT and power in _DECIMAL_SUFFIX:
        return f"{mantissa}{_DECIMAL_SUFFIX[power]}"
    return f"{mantissa}e{power}" if power else str(mantissa)


def _binary_text(units: int) -> str:
    step = 0
    while units % 1024 == 0 and abs(units) >= 1024 and step < len(_BINARY_SUFFIX) - 1:
        units, step = units // 1024, step + 1
    return f"{units}{_BINARY_SUFFIX[step]}"


def _away_from_zero(number: int, divisor: int) -> int:
    size = -(-abs(number) // divisor)
    return size if number >= 0 else -size
