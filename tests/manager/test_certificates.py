"""Certificates: kept while they last, renewed in time, made out to the right name."""

import pytest

from koordinator.manager.webhooks.certificates import Bundle, from_secret, good_bundle

NOW = 1_767_225_600.0
YEAR = 365 * 86400.0


@pytest.fixture(scope="module")
def bundle():
    return good_bundle(None, "127.0.0.1", NOW)


def test_a_good_bundle_is_kept_and_survives_the_secret(bundle):
    assert good_bundle(bundle, "127.0.0.1", NOW) is bundle
    assert from_secret(bundle.secret_data()) == bundle


@pytest.mark.slow
def test_another_name_gets_another_certificate_of_the_same_ca(bundle):
    other = good_bundle(bundle, "koordinator-webhook-service.koordinator-system.svc", NOW)
    assert other.cert != bundle.cert
    assert other.ca_cert == bundle.ca_cert


@pytest.mark.slow
def test_renewed_half_a_year_before_the_end(bundle):
    assert good_bundle(bundle, "127.0.0.1", NOW + 9 * YEAR) is bundle
    late = good_bundle(bundle, "127.0.0.1", NOW + 9.6 * YEAR)
    assert late.cert != bundle.cert
    assert late.ca_cert != bundle.ca_cert


@pytest.mark.slow
def test_a_spoilt_bundle_is_replaced(bundle):
    mixed = Bundle(bundle.ca_key, bundle.ca_cert, bundle.ca_key, bundle.cert)
    assert good_bundle(mixed, "127.0.0.1", NOW).key != bundle.ca_key
    assert good_bundle(Bundle(b"", b"x", b"", b"y"), "127.0.0.1", NOW).ca_cert.startswith(b"-----BEGIN")


@pytest.mark.parametrize(
    "data", [None, {}, {"tls.crt": "bm8="}, {"ca-key.pem": "%", "ca-cert.pem": "", "tls.key": "", "tls.crt": ""}]
)
def test_a_secret_without_a_bundle_is_none(data):
    assert from_secret(data) is None
