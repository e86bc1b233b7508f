"""``scripts/install`` below a folder, with a Python that fetches nothing."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.shared import CHECKOUT

PYTHON: Final = f"""#!/bin/sh
# Makes environments as the real one does; pip in them writes a module and a program.
[ "$1" = -c ] && exit 0
"{sys.executable}" -m venv --without-pip --clear "$4" || exit 1
rm "$4/bin/python"
cat >"$4/bin/python" <<'END'
#!/bin/sh
bin=$(dirname "$0")
mkdir -p "$bin/../lib/package"
echo installed >>"$bin/../lib/package/module.py"
printf '#!/bin/sh\\n' >"$bin/daisee"
chmod +x "$bin/daisee"
END
chmod +x "$4/bin/python"
"""


def installed(tmp_path: Path, umask: int) -> Path:
    """Everything that an install puts below a folder."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    python, root = tmp_path / "python", tmp_path / "root"
    python.write_text(PYTHON)
    python.chmod(0o755)
    root.mkdir(mode=0o755)
    done = subprocess.run(
        [str(CHECKOUT / "scripts/install"), "--root", str(root)],
        env={**os.environ, "PYTHON": str(python)},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_the_service_s_user_may_run_what_root_installed(tmp_path: Path, umask: int) -> None:
    root = installed(tmp_path, umask)
    places = sorted(path for path in root.rglob("*") if not path.is_symlink())
    assert root / "opt/daisee/venv/bin/daisee" in places
    assert root / "etc/daisee/config.toml" in places
    for path in places:
        mode = path.stat().st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0)
        assert mode & needed == needed, f"{path.relative_to(root)} {stat.filemode(mode)}"


def pins(name: str) -> dict[str, str]:
    """Each package of a lock, with its version and the hashes of its files."""
    text = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
    entries = re.findall(r"(?m)^([a-z0-9-]+)(==.*\n(?:    .*\n)*)", text)
    return dict(entries)


def test_a_service_has_what_every_kind_of_meter_needs_pinned() -> None:
    """What ``pip install`` adds to a service's environment an update removes."""
    run, dev = pins("run"), pins("dev")
    assert {"pymodbus", "aiomqtt", "pyserial", "pycryptodome", "aiohttp"} <= set(run)
    for name in ("pymodbus", "pyserial"):
        assert run[name] == dev[name]
        assert "--hash=sha256:" in run[name]
