import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.apiserver import protobuf
from koordinator.kube.errors import ApiError

# what kubectl 1.37 sends for `kubectl create configmap x --from-literal=a=b`
CONFIG_MAP = bytes.fromhex(
    "6b3873000a0f0a0276311209436f6e6669674d6170121b0a110a017812001a0022002a00320038004200120 60a0161120162 1a002200".replace(
        " ", ""
    )
)


def varint(number):
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def envelope(api_version, kind, raw):
    return b"k8s\x00" + field(1, field(1, api_version) + field(2, kind)) + field(2, raw)


def test_what_kubectl_sends():
    assert msgspec.json.decode(protobuf.to_json(CONFIG_MAP)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"a": "b"},
    }


def test_the_shapes_of_fields():
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 0) + field(2, 80)))) + field(3, 0)
    requests = field(2, field(1, "cpu") + field(2, field(1, "500m")))
    container = field(1, "c") + field(10, probe) + field(8, requests)
    spec = field(2, container) + field(4, 0) + field(3, "") + field(11, 0)
    meta = field(1, "p") + field(8, field(1, 1_767_225_600)) + field(7, 0) + field(99, "from the future")
    obj = msgspec.json.decode(protobuf.to_json(envelope("v1", "Pod", field(1, meta) + field(2, spec))))
    assert obj["metadata"] == {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert obj["spec"]["terminationGracePeriodSeconds"] == 0  # a pointer: zero is meant
    assert "restartPolicy" not in obj["spec"]
    assert "hostNetwork" not in obj["spec"]
    (main,) = obj["spec"]["containers"]
    assert main["livenessProbe"] == {"httpGet": {"path": "/", "port": 80}}
    assert main["resources"] == {"requests": {"cpu": "500m"}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", 400),
        (b"k8s\x00", 400),
        (b"k8s\x00\xff\xff", 400),
        (envelope("v1", "Pod", b"\x0a\xff"), 400),
        (envelope("example.com/v1", "Gadget", b""), 415),
    ],
)
def test_what_cannot_be_read(body, code):
    with pytest.raises(ApiError) as caught:
        protobuf.to_json(body)
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    for body in (b"k8s\x00" + raw, envelope("v1", "Pod", raw)):
        with contextlib.suppress(ApiError):  # and nothing else
            protobuf.to_json(body)


async def test_a_body_in_protobuf_is_stored_like_any_other(http):
    reply = await http.call(
        "POST", "/api/v1/namespaces/default/configmaps", CONFIG_MAP, type_="application/vnd.kubernetes.protobuf"
    )
    assert (reply.code, reply.body["data"]) == (201, {"a": "b"})
