"""Choose PyTorch's build for this machine: ``python book/tools/torch_backend.py UV`` prints it for ``UV_TORCH_BACKEND``.

A machine without an NVIDIA GPU has no use for 4 GB of CUDA libraries, which PyTorch's default build brings on Linux.
PyTorch's CPU build stands in an index of its own; it is chosen where no GPU is found and the index answers in time.
The decision and its size go to standard error. Only the standard library is used: nothing is installed yet.
"""

import os
import platform
import shutil
import subprocess
import sys

ANSWER_WITHIN = 3  # seconds for the index of the CPU build
CPU_BUILD = "PyTorch's CPU build (about 0.7 GB to download, 3 GB on disk with all packages)"
DEFAULT_BUILD = (
    "PyTorch's default build with CUDA (about 3 GB to download, 7 GB on disk with all packages)"
)


def has_nvidia_gpu() -> bool:
    """Return whether the driver's own tool finds a GPU."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool], capture_output=True).returncode == 0


def cpu_index_answers(uv: str) -> bool:
    """Return whether uv can find PyTorch in the index of the CPU builds, without installing it."""
    command = [uv, "pip", "install", "--dry-run", "--no-deps", "--refresh", "torch"]
    target = ["--reinstall", "--torch-backend", "cpu", "--python", sys.executable]
    impatient = {"UV_HTTP_TIMEOUT": str(ANSWER_WITHIN), "UV_HTTP_RETRIES": "0"}
    try:
        asked = subprocess.run(
            [*command, *target],
            capture_output=True,
            env=os.environ | impatient,
            timeout=ANSWER_WITHIN,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def choose(uv: str) -> tuple[str, str]:
    """Return the value for ``UV_TORCH_BACKEND``, empty for the default, and a sentence that says why."""
    if asked_for := os.environ.get("UV_TORCH_BACKEND"):
        return asked_for, f"UV_TORCH_BACKEND asks for {asked_for!r}."
    if platform.system() != "Linux":  # elsewhere the default build has no CUDA libraries
        return "", "Installing PyTorch's default build for this system."
    if has_nvidia_gpu():
        return "", f"Found an NVIDIA GPU: installing {DEFAULT_BUILD}."
    if cpu_index_answers(uv):
        return "cpu", f"Found no NVIDIA GPU: installing {CPU_BUILD}."
    return "", (
        f"Found no NVIDIA GPU, but the index of PyTorch's CPU build did not answer within "
        f"{ANSWER_WITHIN} seconds: installing {DEFAULT_BUILD}."
    )


if __name__ == "__main__":
    backend, reason = choose(sys.argv[1])
    print(reason, file=sys.stderr)
    print(backend)
