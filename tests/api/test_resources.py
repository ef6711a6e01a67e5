import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import amplification, quantity, resources
from koordinator.api.core import Container, Pod, PodSpec, ResourceRequirements
from koordinator.api.priority import Band

names = st.sampled_from(["cpu", "memory", "pods", "kubernetes.io/batch-cpu"])
amounts = st.dictionaries(names, st.integers(-(10**6), 10**15))


@given(amounts, amounts)
def test_list_arithmetic(a, b):
    assert resources.subtract(resources.add(a, b), b) == {**dict.fromkeys(b, 0), **a}
    assert all(number >= 0 for number in resources.subtract_to_zero(a, b).values())
    assert resources.maximum(a, b).keys() == a.keys() | b.keys()
    assert resources.minimum(a, b).keys() == a.keys() & b.keys()
    assert resources.is_zero(resources.subtract(a, a))
    assert 0 not in resources.without_zeros(a).values()
    assert resources.mask(a, ["cpu"]).keys() <= {"cpu"}


@given(amounts)
def test_amounts_survive_the_wire(a):
    assert resources.amounts(resources.wire(a)) == a


def test_a_bad_quantity_names_its_resource():
    with pytest.raises(ValueError, match="memory: '1GB' is not a quantity"):
        resources.amounts({"cpu": "1", "memory": "1GB"})


@pytest.mark.parametrize(
    ("band", "name", "translated"),
    [
        (Band.BATCH, "cpu", resources.BATCH_CPU),
        (Band.MID, "memory", resources.MID_MEMORY),
        (Band.PROD, "cpu", "cpu"),
        (Band.FREE, "cpu", ""),
        (Band.BATCH, "pods", ""),
    ],
)
def test_translate(band, name, translated):
    assert resources.translate(band, name) == translated


def test_translated_specs_count_milli_cores():
    spec = resources.exact({"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"})
    assert resources.texts(resources.translate_spec(Band.BATCH, spec)) == {
        resources.BATCH_CPU: "2k",
        resources.BATCH_MEMORY: "1Gi",
        "nvidia.com/gpu": "1",
    }


def test_old_names_move_unless_the_new_one_is_there():
    old = {"koordinator.sh/batch-cpu": "1", "kubernetes.io/batch-cpu": "2"}
    assert resources.rename(old, resources.BATCH_ALIASES) == old
    assert resources.rename({"cpu": "1500m"}, {"cpu": "x"}) == {"x": "1500"}
    untouched = {"cpu": "1"}
    assert resources.rename(untouched, resources.DEVICE_ALIASES) is untouched


def test_a_pods_own_renames():
    text = "a:b, c : d ,e:,broken,x:y:z,a:last"
    assert resources.replacements({"pod.koordinator.sh/replace-resources": text}) == {"a": "last", "c": "d", "e": ""}
    assert resources.replacements(None) == {}


def pod(*containers, init=(), resources=None):
    return Pod(spec=PodSpec(containers=list(containers), init_containers=list(init) or None, resources=resources))


def limits(**given):
    found = {name.replace("batch_", "kubernetes.io/batch-"): text for name, text in given.items()}
    return Container(resources=ResourceRequirements(limits=found, requests=found))


def test_limits_of_best_effort_pods():
    assert resources.be_limit(pod(limits(batch_cpu="500"), limits(batch_cpu="1k")), resources.BATCH_CPU) == 1500
    assert resources.be_limit(pod(limits(batch_cpu="500"), limits()), resources.BATCH_CPU) == resources.UNLIMITED
    assert resources.be_limit(pod(), resources.BATCH_CPU) == resources.UNLIMITED
    assert resources.be_cpu_request(pod(limits(batch_cpu="500"), limits(), init=[limits(batch_cpu="9k")])) == 500


def test_cpu_limits_of_prod_pods():
    sidecar = Container(resources=ResourceRequirements(limits={"cpu": "1"}), restart_policy="Always")
    assert resources.prod_cpu_limit(pod(limits(cpu="2"), init=[sidecar, limits(cpu="8")])) == 8000
    assert resources.prod_cpu_limit(pod(limits(cpu="2"), init=[limits(cpu="1"), sidecar])) == 3000
    assert resources.prod_cpu_limit(pod(limits(cpu="2"), limits())) == resources.UNLIMITED
    whole = ResourceRequirements(limits={"cpu": "4"})
    assert resources.prod_cpu_limit(pod(limits(), resources=whole)) == 4000


@given(st.integers(1, 10**12), st.floats(1.001, 10))
def test_amplified_amounts_are_rounded_up_and_never_smaller(milli, ratio):
    original = quantity.of_milli(milli)
    assert amplification.amplified("cpu", original, ratio) >= original
    assert amplification.amplified("cpu", original, 1.0) is original
    assert amplification.amplified("cpu", quantity.ZERO, ratio) is quantity.ZERO
