from koordinator.errors import ConfigInvalid, Unavailable, readable


def test_what_a_person_can_read_comes_out_of_its_bundle():
    port = Unavailable("port 7443", "another program listens there")
    assert readable(port) is port
    assert readable(ExceptionGroup("", [ExceptionGroup("", [port]), ConfigInvalid("a", 1, "b", "c")])) is port


def test_a_bug_stays_a_bug():
    assert readable(RuntimeError("bug")) is None
    assert readable(ExceptionGroup("", [Unavailable("a", "b"), RuntimeError("bug")])) is None
