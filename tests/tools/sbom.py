"""Write the bill of materials of the node: every locked package, and the model bundles, as CycloneDX JSON.

python tests/tools/sbom.py LOCK MODELS OUT
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from node import __version__
from node.bundle import load

# The films' terms, not the code's: see card.md of a bundle.
MODEL_LICENSE = (
    "Weights trained on films of which some are for non-commercial research alone; see card.md of the bundle"
)


def packages(lock: Path) -> dict[str, Any]:
    """Return the bill of a lock file."""
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", "--output-reproducible", str(lock)]
    bill: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for component in bill["components"]:
        del component["description"]  # the line of the lock file, digests and all
        if expression := license_of(component["name"]):
            component["licenses"] = [{"expression": expression}]
    return bill


def license_of(name: str) -> str | None:
    """Return the SPDX expression that an installed package states (PEP 639), None where it states none."""
    try:
        return metadata.metadata(name).get("License-Expression")
    except metadata.PackageNotFoundError:
        return None


def model(folder: Path) -> dict[str, Any]:
    """Return the component of a model bundle, whose digests are checked for it."""
    bundle = load(folder)
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model-{folder.name}",
        "name": bundle.manifest.name,
        "version": bundle.identity.version,
        "hashes": [{"alg": "SHA-256", "content": bundle.digest}],
        "licenses": [{"license": {"name": MODEL_LICENSE}}],
    }


def main(lock: Path, models: Path, out: Path) -> None:
    """Write the bill."""
    bill = packages(lock)
    bundles = [model(path.parent) for path in sorted(models.glob("*/bundle.yaml"))]
    bill["components"] += bundles
    bill["metadata"]["component"] = {
        "type": "application",
        "bom-ref": "cxr-triage-node",
        "name": "cxr-triage-node",
        "version": __version__,
        "licenses": [{"expression": "Apache-2.0"}],
    }
    needed = sorted(component["bom-ref"] for component in bill["components"])
    bill["dependencies"].append({"ref": "cxr-triage-node", "dependsOn": needed})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{out}: {len(bill['components'])} components")


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:]))
