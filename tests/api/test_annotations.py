import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import wirejson
from koordinator.api.annotations import Annotation, As, Malformed, Text
from koordinator.api.core import Quantities
from koordinator.api.eviction import EVICTION_POLICY, may_evict
from koordinator.api.meta import DurationText, Int32, IntOrString, Struct, TimeText, always


class Inner(Struct):
    count: int | None = None
    bus_id: str = msgspec.field(default="", name="busID")


class Sample(Struct):
    enable: bool | None = None
    small: Int32 | None = None
    wait: DurationText = always("0s")
    at: TimeText | None = None
    percent: IntOrString | None = None
    resources: Quantities | None = None
    inner: Inner = msgspec.field(default_factory=Inner)
    items: list[Inner] | None = None
    names: list[str] | None = None
    ratios: dict[str, float] | None = None


SAMPLE = Annotation[Sample]("example.com/sample", Sample)


def read(raw):
    return SAMPLE.read({SAMPLE.key: raw})


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        ("{}", '{"wait":"0s","inner":{}}'),
        ("null", '{"wait":"0s","inner":{}}'),
        ('{"Enable":true,"INNER":{"BUSID":"x","Count":1}}', '{"enable":true,"wait":"0s","inner":{"count":1,"busID":"x"}}'),
        ('{"unknown":[1,{"a":2}],"enable":null}', '{"wait":"0s","inner":{}}'),
        ('{"inner":{"count":1},"inner":{"busID":"x"}}', '{"wait":"0s","inner":{"count":1,"busID":"x"}}'),
        ('{"enable":true,"enable":false}', '{"enable":false,"wait":"0s","inner":{}}'),
        ('{"wait":"90s"}', '{"wait":"1m30s","inner":{}}'),
        ('{"resources":{"memory":"1024Mi","cpu":2}}', '{"wait":"0s","resources":{"cpu":"2","memory":"1Gi"},"inner":{}}'),
        ('{"percent":"<1>"}', '{"wait":"0s","percent":"\\u003c1\\u003e","inner":{}}'),
        ('{"items":[null,{}],"names":[null]}', '{"wait":"0s","inner":{},"items":[{},{}],"names":[""]}'),
        ('{"at":"2026-07-01T10:00:00.5+02:00"}', '{"wait":"0s","at":"2026-07-01T08:00:00Z","inner":{}}'),
        ('{"at":"2026-07-01T08:00:00Z"}', '{"wait":"0s","at":"2026-07-01T08:00:00Z","inner":{}}'),
        ('{"ratios":{"a":null,"b":1}}', '{"wait":"0s","inner":{},"ratios":{"a":0.0,"b":1.0}}'),
    ],
)
def test_reading_and_writing(raw, written):
    value = read(raw)
    assert SAMPLE.write(value) == written
    assert read(written) == value


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        '"x"',
        "1",
        "{} x",
        '{"enable":1}',
        '{"enable":"true"}',
        '{"small":1.0}',
        '{"small":2147483648}',
        '{"small":1e2}',
        '{"wait":30}',
        '{"wait":"30"}',
        '{"at":"yesterday"}',
        '{"percent":1.5}',
        '{"percent":true}',
        '{"resources":{"cpu":"two"}}',
        '{"resources":{"cpu":true}}',
        '{"resources":[]}',
        '{"inner":[]}',
        '{"items":{}}',
        '{"ratios":{"a":NaN}}',
        '{"ratios":{"a":1e400}}',
        '{"inner":{"count":9223372036854775808}}',
        "[" * 5000,
        '{"a":' * 5000,
    ],
)
def test_what_cannot_be_read_is_a_value_with_a_reason(raw):
    value = read(raw)
    assert isinstance(value, Malformed)
    assert value.reason
    assert value.raw == raw


def test_absent_is_none():
    assert SAMPLE.read(None) is SAMPLE.read({}) is None
    assert Annotation[Sample]("k", Sample, blank=As.ABSENT).read({"k": ""}) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Sample.__struct_fields__, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.text() | json_values.map(lambda value: msgspec.json.encode(value).decode()))
def test_reading_never_raises_and_what_was_read_survives_a_round_trip(raw):
    value = read(raw)
    if not isinstance(value, Malformed):
        assert read(SAMPLE.write(value)) == value


def test_lone_surrogates_do_not_break_writing():
    value = wirejson.decode('{"a":"\\ud800"}', dict[str, str])
    assert wirejson.encode(value)


def test_numbers_in_texts():
    number = Text("k", int)
    assert number.read({"k": "1"}) == 1
    assert isinstance(number.read({"k": "x"}), Malformed)
    assert number.read({}) is None


@pytest.mark.parametrize(
    ("raw", "allowed"),
    [(None, True), ('["MemoryEvict"]', True), ("[]", False), ("{", False), ('"MemoryEvict"', False), ("null", False)],
)
def test_eviction_policy(raw, allowed):
    annotations = {} if raw is None else {EVICTION_POLICY.key: raw}
    assert may_evict(annotations, "MemoryEvict") is allowed
