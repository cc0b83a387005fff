#!/usr/bin/env bash
# Looks up the installed packages' known vulnerabilities: exit status 1 where there are any. Where pip-audit is not
# installed or its database does not answer, one line says that nothing was looked up.
# Usage: scripts/audit.sh [FOLDER of the environment]   (default .venv)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv}/bin/python
skip() { printf 'scripts/audit.sh: not run: %s\n' "$1"; exit 0; }

"$python" -c 'import pip_audit' 2>/dev/null || skip "pip-audit is not installed"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# It ends in the same way where there is a vulnerability and where it cannot look: what it writes tells.
timeout 120 "$python" -m pip_audit --skip-editable --progress-spinner off --timeout 10 \
    --format json --output "$folder/found.json" 2>"$folder/said" || true
[ -s "$folder/found.json" ] || skip "its database cannot be reached ($(tail -n 1 "$folder/said" | cut -c 1-120))"
"$python" - "$folder/found.json" <<'PYTHON'
import json
import sys

packages = json.load(open(sys.argv[1]))["dependencies"]
known = [package for package in packages if "vulns" in package]
if not known:
    sys.exit(print("scripts/audit.sh: not run: its database knows none of the packages"))
bad = [(package, found) for package in known for found in package["vulns"]]
for package, found in bad:
    fixed = ", ".join(found["fix_versions"]) or "no version yet"
    print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
print(f"{len(known)} of {len(packages)} packages were looked up: {len(bad)} known vulnerabilities")
sys.exit(bool(bad))
PYTHON
