"""Rules in CEL: on custom objects, and as match conditions of webhooks (test_webhooks has those)."""

import pytest

from koordinator.kube.semantics.cel import CelError, compile_

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RANGES = "/apis/example.com/v1/namespaces/default/ranges"
SELF = frozenset({"self", "oldSelf"})


def definition(*rules, **properties):
    spec = {"type": "object", "x-kubernetes-validations": list(rules), "properties": properties}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "ranges", "kind": "Range"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "ranges.example.com"}, "spec": spec}


def integers(*names):
    return {name: {"type": "integer"} for name in names}


async def test_a_rule_over_two_fields(http):
    rule = {"rule": "self.low <= self.high", "message": "low must not be above high", "fieldPath": ".low"}
    assert (await http.post(DEFINITIONS, definition(rule, **integers("low", "high")))).code == 201
    assert (await http.post(RANGES, {"metadata": {"name": "a"}, "spec": {"low": 1, "high": 2}})).code == 201
    refused = await http.post(RANGES, {"metadata": {"name": "b"}, "spec": {"low": 3, "high": 2}})
    assert refused.code == 422
    assert 'spec.low: Invalid value: "object": low must not be above high' in refused.message
    assert (await http.patch(f"{RANGES}/a", {"spec": {"low": 5}})).code == 422
    missing = await http.post(RANGES, {"metadata": {"name": "c"}, "spec": {"low": 3}})
    assert (missing.code, "rule failed: self.low <= self.high" in missing.message) == (422, True)
    wrong = await http.post(RANGES, {"metadata": {"name": "d"}, "spec": {"low": "x", "high": 1}})
    assert "must be of type integer" in wrong.message
    assert "rule failed" not in wrong.message


async def test_a_rule_that_compares_with_before(http):
    item = {"type": "object", "properties": {"key": {"type": "string"}, "n": {**integers("n")["n"]}}}
    item["properties"]["n"]["x-kubernetes-validations"] = [{"rule": "self >= oldSelf", "message": "n may only grow"}]
    items = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]}
    frozen = {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "reason": "FieldValueForbidden"}]}
    await http.post(DEFINITIONS, definition(name=frozen, items=items))
    spec = {"name": "x", "items": [{"key": "a", "n": 3}, {"key": "b", "n": 1}]}
    assert (await http.post(RANGES, {"metadata": {"name": "a"}, "spec": spec})).code == 201
    renamed = await http.patch(f"{RANGES}/a", {"spec": {"name": "y"}})
    assert "spec.name: Forbidden: failed rule: self == oldSelf" in renamed.message
    assert (await http.patch(f"{RANGES}/a", {"spec": {"items": [{"key": "b", "n": 2}, {"key": "c", "n": 0}]}})).code == 200
    shrunk = await http.patch(f"{RANGES}/a", {"spec": {"items": [{"key": "c", "n": 1}, {"key": "b", "n": 1}]}})
    assert "spec.items[1].n: Invalid value" in shrunk.message
    assert (await http.patch(f"{RANGES}/a", {"spec": {"items": None}})).code == 200


async def test_a_rule_that_compares_with_what_may_not_have_been_there(http):
    once = {"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": True, "message": "set once"}
    small = {"rule": "oldSelf.orValue(0) + 2 >= self", "optionalOldSelf": True, "message": "in steps of 2"}
    name = {"type": "string", "x-kubernetes-validations": [once]}
    step = {"type": "integer", "x-kubernetes-validations": [small]}
    assert (await http.post(DEFINITIONS, definition(name=name, step=step))).code == 201
    refused = await http.post(RANGES, {"metadata": {"name": "a"}, "spec": {"step": 3}})
    assert 'spec.step: Invalid value: "integer": in steps of 2' in refused.message
    assert (await http.post(RANGES, {"metadata": {"name": "a"}, "spec": {"step": 2}})).code == 201
    assert (await http.patch(f"{RANGES}/a", {"spec": {"step": 4, "name": "x"}})).code == 200
    assert "in steps of 2" in (await http.patch(f"{RANGES}/a", {"spec": {"step": 7}})).message
    assert "set once" in (await http.patch(f"{RANGES}/a", {"spec": {"name": "y"}})).message


async def test_a_message_may_be_computed(http):
    rule = {"rule": "self.low >= 0", "messageExpression": "'low is ' + string(self.low)"}
    await http.post(DEFINITIONS, definition(rule, **integers("low")))
    refused = await http.post(RANGES, {"metadata": {"name": "a"}, "spec": {"low": -1}})
    assert refused.message.endswith('"object": low is -1')


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "self.low <="}, "compilation failed"),
        ({"rule": ""}, "rule is required"),
        ({"rule": "optional.of(self.low).optMap(x, x).hasValue()"}, "undeclared reference to 'optMap' (not supported here)"),
        ({"rule": "self.?low.orValue(1) > 0"}, "unsupported syntax '.?'"),
        ({"rule": "request.name == 'x'"}, "undeclared reference to 'request'"),
        ({"rule": "true", "reason": "Whim"}, "reason 'Whim' is not one of"),
    ],
)
async def test_rules_that_are_refused(http, rule, words):
    reply = await http.post(DEFINITIONS, definition(rule, **integers("low")))
    assert reply.code == 422
    assert words in reply.message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.name.matches('^a.c$')", True),
        ("self.items.all(x, x > 0) && self.items.exists(x, x == 2)", True),
        ("has(self.none) ? self.none : 'default'", "default"),
        ("self.name.split('b').join('-')", "a-c"),
        ("self.name.upperAscii().indexOf('C')", 2),
        ("self.items.isSorted() && self.items.sum() == 6", True),
        ("'a1b22'.findAll('[0-9]+')", ["1", "22"]),
        ("duration('1h') > duration('59m')", True),
        ("'x' in self.labels && self.labels['x'] == 'y'", True),
        ("self.name.size() <= 3", True),
        ("math.greatest(self.items) == 3 && sets.contains(self.items, [1]) && lists.range(2) == [0, 1]", True),
        ("'%s has %d of %.1f, %s'.format([self.name, 3, 2.5, true])", "abc has 3 of 2.5, true"),
        ("quantity('1500m').isGreaterThan(quantity('1')) && quantity('1k') == quantity('1000')", True),
        ("quantity('1Gi').add(quantity('1Gi')).asInteger()", 2 << 30),
        ("isQuantity('much')", False),
        ("semver('1.10.0').compareTo(semver('1.9.0'))", 1),
        ("url('https://u@a.b:8/c?d=e').getHost() + url('/c').getEscapedPath()", "a.b:8/c"),
        ("url('https://a.b:8/c?d=e').getQuery()['d'][0] == 'e' && isURL('a.b') == false", True),
        ("ip('::0:1') == ip('::1') && ip('::1').isLoopback() && ip('10.0.0.1').family() == 4", True),
        ("ip.isCanonical('::0:1') || isIP('10.0.0.256')", False),
        ("cidr('10.1.2.3/8').containsIP('10.9.9.9') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8", True),
        ("optional.none().orValue('d') + optional.of('x').value()", "dx"),
    ],
)
def test_the_language(expression, value):
    given = {"name": "abc", "items": [1, 2, 3], "labels": {"x": "y"}}
    assert compile_(expression, SELF)({"self": given}) == value


def test_a_failing_rule_says_which():
    with pytest.raises(CelError, match=r"^self\.a\.b: "):
        compile_("self.a.b", SELF)({"self": {}})
