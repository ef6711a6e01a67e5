"""The cluster as arrays: one row per node, one column per resource, label key or plugin value.

Plugins read whole columns; informer events write single rows. Every write is noted in a journal, so that whoever keeps
vectors computed from the columns learns in O(what changed) which rows to compute again (``Columns.changed_since``).

Guarantees: a row number stays with its node until the node is deleted; a reused row starts clean; growth keeps all values.
"""

from array import array
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from koordinator.api import numbers
from koordinator.api.core import Taint
from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Amounts
from koordinator.api.taints import taint_key

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Rows = slice | NDArray[np.intp]
"""Which rows a plugin shall look at: a slice where possible (views, no copies), else an index array."""


class Change:
    """What moved in a row. Plain integers: they are combined on the hot path."""

    NODE = 1
    ALLOCATABLE = 2
    LABELS = 4
    TAINTS = 8
    REQUESTED = 16
    USAGE = 32
    PODS = 64
    """Which pods are there: their labels, ports, volumes, and what they want of their neighbours."""
    IMAGES = 128
    ALL = 255


_CHANGE_BITS = 8
_MANY = 32
"""From so many changes on, arrays are worth their while."""
_FIRST_RESOURCES = (PODS, CPU, MEMORY, EPHEMERAL_STORAGE)
PODS_COLUMN, CPU_COLUMN, MEMORY_COLUMN = 0, 1, 2


class Interner:
    """Values to small integers, in order of first sight."""

    def __init__(self, first: Iterable[Any] = ()) -> None:
        self.ids: dict[Any, int] = {}
        self.values: list[Any] = []
        for value in first:
            self.intern(value)

    def __len__(self) -> int:
        return len(self.values)

    def intern(self, value: Hashable) -> int:
        known = self.ids.get(value)
        if known is None:
            known = self.ids[value] = len(self.values)
            self.values.append(value)
        return known


class Column:
    """One value (or one short vector) per node. ``values`` is replaced when the table grows: never keep it across calls."""

    __slots__ = ("fill", "values")

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic], fill: int) -> None:
        self.fill = fill
        self.values: NDArray[Any] = np.full(shape, fill, dtype=dtype, order="F")

    def grow(self, capacity: int) -> None:
        wider = np.full((capacity, *self.values.shape[1:]), self.fill, dtype=self.values.dtype, order="F")
        wider[: len(self.values)] = self.values
        self.values = wider

    def widen(self, width: int) -> None:
        wider = np.full((len(self.values), width), self.fill, dtype=self.values.dtype, order="F")
        wider[:, : self.values.shape[1]] = self.values
        self.values = wider


class LabelColumn(Column):
    """The values of one label key: per row the id of its value, 0 when the node has no such label."""

    __slots__ = ("interner", "numbers")

    def __init__(self, capacity: int) -> None:
        super().__init__((capacity,), np.int32, 0)
        self.interner = Interner([None])
        self.numbers: list[int | None] = [None]

    def id_of(self, value: str) -> int:
        """The id of a value, made known if it was not (so that a compiled selector never goes stale)."""
        known = self.interner.intern(value)
        if known == len(self.numbers):
            self.numbers.append(_integer(value))
        return known


def _integer(text: str) -> int | None:
    """A label value as Gt and Lt read it."""
    try:
        return numbers.decimal_int(text)
    except ValueError:
        return None


class Columns:
    """All nodes. ``size`` is the high-water mark of rows; rows in it that hold no node have ``alive`` false."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.size = 0
        self.names: list[str] = []
        self.row_of: dict[str, int] = {}
        self.resources = Interner(_FIRST_RESOURCES)
        self.labels: dict[str, LabelColumn] = {}
        self.taint_sets = Interner([()])
        self._free: list[int] = []
        self._row_labels: list[Mapping[str, str]] = []
        self._columns: list[Column] = []
        self._wide: list[Column] = []
        self.width = 8
        self._allocatable = self.resource_column()
        self._requested = self.resource_column()
        self._nonzero = self.resource_column()
        self._alive = self.column(np.bool_)
        self._unschedulable = self.column(np.bool_)
        self._taint_set = self.column(np.int32)
        self.node_names = self._label_column()
        self._journal = array("q")
        self._base = 0
        self._bind_views()

    # -- shape ---------------------------------------------------------------------------------------------------------

    def column(self, dtype: type[np.generic], width: int = 0, fill: int = 0) -> Column:
        """A column of a plugin's own. It grows with the table and is reset when a row is reused."""
        column = Column((self.capacity, width) if width else (self.capacity,), dtype, fill)
        self._columns.append(column)
        return column

    def drop(self, column: Column) -> None:
        """Keep a plugin's column no longer."""
        self._columns = [one for one in self._columns if one is not column]
        self._wide = [one for one in self._wide if one is not column]

    def resource_column(self) -> Column:
        """A column with one value per resource. It grows and widens with the table."""
        column = self.column(np.int64, self.width)
        self._wide.append(column)
        return column

    def _label_column(self) -> LabelColumn:
        column = LabelColumn(self.capacity)
        self._columns.append(column)
        return column

    def label(self, key: str) -> LabelColumn:
        """The column of a label key, made on first use."""
        column = self.labels.get(key)
        if column is None:
            column = self.labels[key] = self._label_column()
        return column

    def _bind_views(self) -> None:
        self.allocatable: Ints = self._allocatable.values
        self.requested: Ints = self._requested.values
        self.nonzero: Ints = self._nonzero.values
        self.alive: Bools = self._alive.values
        self.unschedulable: Bools = self._unschedulable.values
        self.taint_set: NDArray[np.int32] = self._taint_set.values

    def _grow(self) -> None:
        self.capacity *= 2
        for column in self._columns:
            column.grow(self.capacity)
        self._bind_views()

    def resource(self, name: str) -> int:
        """The column index of a resource, made on first use."""
        index = self.resources.intern(name)
        if index >= self.width:
            self.width *= 2
            for column in self._wide:
                column.widen(self.width)
            self._bind_views()
        return index

    def vector(self, amounts: Amounts) -> Ints:
        """A resource list as one row. Make it again when ``width`` has changed."""
        indexed = [(self.resource(name), number) for name, number in amounts.items()]
        row = np.zeros(self.width, dtype=np.int64)
        for index, number in indexed:
            row[index] = number
        return row

    @property
    def rows(self) -> slice:
        """All rows that ever held a node."""
        return slice(0, self.size)

    def __len__(self) -> int:
        return len(self.row_of)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def add_node(self, name: str) -> int:
        """The row of a node, made if it has none. New rows are zero in every column."""
        if (row := self.row_of.get(name)) is not None:
            return row
        row = self._free.pop() if self._free else self._next_row()
        for column in self._columns:
            column.values[row] = column.fill
        self.names[row] = name
        self._row_labels[row] = {}
        self.row_of[name] = row
        self.alive[row] = True
        self.node_names.values[row] = self.node_names.id_of(name)
        self.touch(row, Change.ALL)
        return row

    def _next_row(self) -> int:
        if self.size == self.capacity:
            self._grow()
        self.size += 1
        self.names.append("")
        self._row_labels.append({})
        return self.size - 1

    def remove_node(self, name: str) -> int | None:
        """Free a node's row; the number may be given to the next node."""
        row = self.row_of.pop(name, None)
        if row is None:
            return None
        self.alive[row] = False
        self.names[row] = ""
        self._free.append(row)
        self.touch(row, Change.ALL)
        return row

    def set_allocatable(self, row: int, amounts: Amounts) -> bool:
        vector = self.vector(amounts)
        if np.array_equal(self.allocatable[row], vector):
            return False
        self.allocatable[row] = vector
        self.touch(row, Change.ALLOCATABLE)
        return True

    def set_labels(self, row: int, labels: Mapping[str, str]) -> bool:
        before = self._row_labels[row]
        if before == labels:
            return False
        for key in before.keys() - labels.keys():
            self.labels[key].values[row] = 0
        for key, value in labels.items():
            if before.get(key) != value:
                column = self.label(key)
                column.values[row] = column.id_of(value)
        self._row_labels[row] = dict(labels)
        self.touch(row, Change.LABELS)
        return True

    def labels_of(self, row: int) -> Mapping[str, str]:
        return self._row_labels[row]

    def set_taints(self, row: int, taints: Iterable[Taint], *, unschedulable: bool) -> bool:
        known = self.taint_sets.intern(tuple(map(taint_key, taints)))
        if self.taint_set[row] == known and bool(self.unschedulable[row]) == unschedulable:
            return False
        self.taint_set[row] = known
        self.unschedulable[row] = unschedulable
        self.touch(row, Change.TAINTS)
        return True

    # -- the journal ---------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The generation of the whole table: how many changes there have been."""
        return self._base + len(self._journal)

    def touch(self, row: int, change: int) -> None:
        """Note that something in a row moved."""
        self._journal.append(row << _CHANGE_BITS | change)
        if len(self._journal) > 4096 + 2 * self.size:
            half = len(self._journal) // 2
            del self._journal[:half]
            self._base += half

    def rewind(self, position: int) -> None:
        """Forget the changes since a position: they have all been taken back."""
        del self._journal[max(position - self._base, 0) :]

    def changed_since(self, position: int) -> tuple[list[int], int] | None:
        """Rows that moved after a position, and the union of what moved in them. None when that is too long ago to tell."""
        start = position - self._base
        if start < 0:
            return None
        entries = self._journal[start:]
        if len(entries) == 1:
            return [entries[0] >> _CHANGE_BITS], entries[0] & Change.ALL
        if len(entries) > _MANY:
            moved = np.frombuffer(entries, dtype=np.int64)
            return list(dict.fromkeys((moved >> _CHANGE_BITS).tolist())), int(np.bitwise_or.reduce(moved)) & Change.ALL
        kinds = 0
        for entry in entries:
            kinds |= entry
        return list(dict.fromkeys(entry >> _CHANGE_BITS for entry in entries)), kinds & Change.ALL
