"""What the node is made of is written down whole, and what could not be checked is said."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import vulnerabilities

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": ["CVE-2026-1"]}


def pins(lock):
    """Every package of a lock file with its version and its digests."""
    text = (ROOT / lock).read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (re.match(r"([a-z0-9._-]+)==(\S+)", line), re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)) for line in lines
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_digest(lock):
    found = pins(lock)
    assert len(found) > 50
    assert all(pin and digests for pin, digests in found)


def test_the_bill_of_materials_names_every_locked_package_and_the_model(tmp_path):
    out = tmp_path / "sbom.json"
    tool = [sys.executable, str(ROOT / "tests" / "tools" / "sbom.py"), "requirements.lock", "models", str(out)]
    subprocess.run(tool, cwd=ROOT, check=True, capture_output=True)
    bill = json.loads(out.read_text("utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    named = {(each["name"], each["version"]) for each in bill["components"]}
    assert {(pin[1], pin[2]) for pin, _ in pins("requirements.lock")} <= named
    models = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    assert len(models) == len(list((ROOT / "models").glob("*/bundle.yaml"))) > 0
    assert all(re.fullmatch("[0-9a-f]{64}", each["hashes"][0]["content"]) and each["licenses"] for each in models)
    assert sum("licenses" in each for each in bill["components"]) > 20
    (of_all,) = [each for each in bill["dependencies"] if each["ref"] == "cxr-triage-node"]
    assert len(of_all["dependsOn"]) == len(bill["components"])


# Vulnerabilities


def checked(monkeypatch, capsys, tmp_path, answers):
    """Check a lock file with a service that answers so; gives the exit status and what was said."""
    monkeypatch.setattr(vulnerabilities, "asked", lambda service, lock, within_s: answers)
    status = vulnerabilities.main([ROOT / "requirements.lock"], tmp_path)
    return status, capsys.readouterr().out


def test_a_known_vulnerability_fails_the_check(monkeypatch, capsys, tmp_path):
    answers = [{"name": "x", "version": "1.0", "vulns": [FAULT]}]
    status, said = checked(monkeypatch, capsys, tmp_path, answers)
    assert status == 1
    assert "x 1.0: PYSEC-2026-1, mended in 2.0" in said


def test_one_that_is_accepted_for_a_reason_does_not(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(vulnerabilities.ACCEPTED, "CVE-2026-1", "not reached")
    answers = [{"name": "x", "version": "1.0", "vulns": [FAULT]}]
    assert checked(monkeypatch, capsys, tmp_path, answers)[0] == 0


@pytest.mark.parametrize("answers", [[], [{"name": "x", "skip_reason": "not found"}]])
def test_where_nobody_answers_it_passes_and_says_loudly_that_nothing_was_checked(
    monkeypatch, capsys, tmp_path, answers
):
    status, said = checked(monkeypatch, capsys, tmp_path, answers)
    assert status == 0
    assert "VULNERABILITIES WERE NOT CHECKED: no advisory service answers" in said


def test_packages_that_the_service_does_not_know_are_named(monkeypatch, capsys, tmp_path):
    answers = [{"name": "x", "version": "1", "vulns": []}, {"name": "odd", "skip_reason": "not found"}]
    status, said = checked(monkeypatch, capsys, tmp_path, answers)
    assert status == 0
    assert "VULNERABILITIES WERE NOT CHECKED: of" in said and " odd" in said


def test_one_package_is_asked_for_first_with_its_digests(tmp_path):
    probe = tmp_path / "probe.lock"
    vulnerabilities.SERVICES, before = (), vulnerabilities.SERVICES
    try:
        assert vulnerabilities.answering(ROOT / "requirements.lock", probe) is None
    finally:
        vulnerabilities.SERVICES = before
    text = probe.read_text("utf-8")
    assert len(re.findall("==", text)) == 1
    assert "--hash=sha256:" in text and not text.rstrip().endswith("\\")


def test_make_check_asks_for_vulnerabilities_of_both_locks():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    check = makefile[makefile.index("\ncheck:") :].split("\n\n")[0]
    assert f"tests/tools/vulnerabilities.py {' '.join(LOCKS)}" in check
    assert "/bandit " in check
