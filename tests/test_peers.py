import pytest

from tests.peers import require_peer


@pytest.mark.parametrize("ci", ["", "false"])
def test_a_missing_peer_skips_a_test_on_a_desk(monkeypatch, ci):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require_peer("no-such-program")


def test_a_missing_peer_fails_a_test_in_continuous_integration(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="may not go without it"):
        require_peer("no-such-program")
