"""scripts/audit.sh with a stand-in for pip-audit: what it says, and where it cannot look."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.sh"
STAND_IN = """
import sys
if __name__ == "__main__":
    open(sys.argv[sys.argv.index("--output") + 1], "w").write({0!r})
    sys.exit({1})
"""
OFFLINE = "if __name__ == '__main__': raise ConnectionError('no network')"
WELL = {"name": "a", "version": "1", "vulns": []}
ILL = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not on PyPI"}


@pytest.fixture
def audit(tmp_path):
    """audit(packages, status) -> exit status and output, where pip-audit finds these; None: it is offline."""

    def run(packages: list | None, status: int = 0) -> tuple[int, str]:
        (tmp_path / "bin").mkdir()
        python = tmp_path / "bin/python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        text = json.dumps({"dependencies": packages})
        (tmp_path / "pip_audit.py").write_text(STAND_IN.format(text, status) if packages else OFFLINE)
        done = subprocess.run([str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def test_vulnerabilities_fail_and_are_listed(audit):
    code, said = audit([WELL, ILL, UNKNOWN], 1)
    assert code == 1
    assert said == ("b 2: CVE-1, fixed in 3\n2 of 3 packages were looked up: 1 known vulnerabilities\n")


def test_no_vulnerability_passes(audit):
    code, said = audit([WELL])
    assert (code, said) == (0, "1 of 1 packages were looked up: 0 known vulnerabilities\n")


def test_offline_it_passes_with_one_line(audit):
    code, said = audit(None)
    assert code == 0 and said.count("\n") == 1
    assert said.startswith("scripts/audit.sh: not run: its database cannot be reached (ConnectionError")


def test_so_it_does_where_the_database_knows_nothing_and_where_pip_audit_is_missing(audit, tmp_path):
    code, said = audit([UNKNOWN])
    assert (code, said) == (0, "scripts/audit.sh: not run: its database knows none of the packages\n")
    (tmp_path / "pip_audit.py").write_text("raise ImportError")
    done = subprocess.run([str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "scripts/audit.sh: not run: pip-audit is not installed\n")
