"""Hold the lock files against what is known of vulnerabilities, and say plainly where nobody can be asked.

    python tests/tools/vulnerabilities.py LOCK ...

Exit status 1 where a pinned package has a known vulnerability that ACCEPTED does not name. pip-audit itself calls a package
that its service does not know "skipped", and says "no known vulnerabilities found" of a hundred skipped ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# Identifier of a vulnerability, and why it does no harm here.
ACCEPTED: dict[str, str] = {}
SERVICES = ("osv", "pypi")
ASK_WITHIN_S, ALL_WITHIN_S = 30, 300

NOT_CHECKED = """\
*****************************************************************
*  VULNERABILITIES WERE NOT CHECKED: {what}
*  {then}
*****************************************************************"""


def asked(service: str, lock: Path, within_s: float) -> list[dict[str, Any]]:
    """Return what a service says of each package of a lock file; empty where it does not answer."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--disable-pip", "--require-hashes"]
    command += ["--timeout", "5", "--vulnerability-service", service, "--format", "json", "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
        return []
    return found


def answering(lock: Path, probe: Path) -> str | None:
    """Return a service that knows the first package of a lock file; None where there is none."""
    first = lock.read_text("utf-8").split("\n", 2)[2].split("\n")
    end = next(number for number, line in enumerate(first) if not line.endswith("\\"))
    probe.write_text("\n".join(first[: end + 1]) + "\n", "utf-8")
    return next((each for each in SERVICES if any("vulns" in it for it in asked(each, probe, ASK_WITHIN_S))), None)


def judged(found: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return vulnerabilities that are not accepted, and packages nobody knew."""
    bad = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in found
        for fault in each.get("vulns", ())
        if not {fault["id"], *fault.get("aliases", ())} & set(ACCEPTED)
    ]
    return bad, [each["name"] for each in found if "vulns" not in each]


def main(locks: list[Path], folder: Path) -> int:
    """Check lock files; `folder` is for a file of our own."""
    service = answering(locks[0], folder / "probe.lock")
    if service is None:
        then = "Run `make check` where the package index or the OSV database can be reached."
        print(NOT_CHECKED.format(what="no advisory service answers from here.", then=then))
        return 0
    status = 0
    for lock in locks:
        bad, unknown = judged(asked(service, lock, ALL_WITHIN_S))
        for line in bad:
            print(f"{lock}: {line}")
            status = 1
        if unknown:
            what = f"of {lock} {len(unknown)} packages."
            print(NOT_CHECKED.format(what=what, then=" ".join(unknown)))
        if not bad and not unknown:
            print(f"{lock}: no known vulnerability ({service})")
    return status


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as own:
        sys.exit(main([Path(name) for name in sys.argv[1:]], Path(own)))
