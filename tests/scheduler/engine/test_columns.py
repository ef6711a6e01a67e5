import numpy as np

from koordinator.scheduler.engine.columns import CPU_COLUMN, Change, Columns
from scheduler.builders import Taint


def test_a_new_node_gets_a_clean_row_even_when_the_row_was_used_before():
    columns = Columns()
    mine = columns.column(np.int64, width=2, fill=7)
    row = columns.add_node("old")
    columns.set_allocatable(row, {"cpu": 4000, "example.com/odd": 3})
    columns.set_labels(row, {"zone": "a"})
    mine.values[row] = 1
    columns.remove_node("old")
    assert columns.add_node("new") == row
    assert not columns.allocatable[row].any()
    assert columns.labels["zone"].values[row] == 0
    assert mine.values[row].tolist() == [7, 7]
    assert columns.names == ["new"]


def test_growth_in_nodes_and_resources_keeps_every_value():
    columns = Columns(capacity=1)
    for index in range(100):
        row = columns.add_node(f"n{index}")
        columns.set_allocatable(row, {"cpu": index, f"example.com/r{index % 40}": index})
    for index in range(100):
        row = columns.row_of[f"n{index}"]
        assert columns.allocatable[row, CPU_COLUMN] == index
        assert columns.allocatable[row, columns.resource(f"example.com/r{index % 40}")] == index
    assert len(columns) == 100


def test_nothing_moves_when_nothing_changed():
    columns = Columns()
    row = columns.add_node("n")
    columns.set_allocatable(row, {"cpu": 1})
    columns.set_labels(row, {"a": "b"})
    columns.set_taints(row, [Taint(key="k", effect="NoSchedule")], unschedulable=False)
    before = columns.position
    assert not columns.set_allocatable(row, {"cpu": 1})
    assert not columns.set_labels(row, {"a": "b"})
    assert not columns.set_taints(row, [Taint(key="k", effect="NoSchedule", time_added="later")], unschedulable=False)
    assert columns.position == before


def test_the_journal_names_moved_rows_once_and_what_moved_in_them():
    columns = Columns()
    rows = [columns.add_node(f"n{index}") for index in range(3)]
    begin = columns.position
    columns.touch(rows[2], Change.LABELS)
    columns.touch(rows[0], Change.USAGE)
    columns.touch(rows[2], Change.LABELS)
    assert columns.changed_since(begin) == ([rows[2], rows[0]], Change.LABELS | Change.USAGE)
    assert columns.changed_since(columns.position) == ([], 0)


def test_a_reader_that_was_away_too_long_is_told_so():
    columns = Columns()
    row = columns.add_node("n")
    begin = columns.position
    for _ in range(20_000):
        columns.touch(row, Change.USAGE)
    assert columns.changed_since(begin) is None
    recent = columns.position - 10
    assert columns.changed_since(recent) == ([row], Change.USAGE)


def test_label_values_compare_as_numbers_only_when_they_are():
    columns = Columns()
    column = columns.label("gen")
    texts = ["5", "-3", "+7", "1_0", " 1", "x", "", str(2**63)]
    assert [column.numbers[column.id_of(text)] for text in texts] == [5, -3, 7, None, None, None, None, None]
