"""Choose the build of PyTorch: ``python book/tools/torch_backend.py UV`` prints UV_TORCH_BACKEND.

On Linux, PyTorch's default build comes with 4 GB of CUDA libraries, which are useless without an
NVIDIA GPU. The CPU build is in a separate index. It is chosen if there is no GPU and that index
answers in time. The decision and the download size are printed to standard error. This program uses
the standard library only, because it runs before anything is installed.
"""

import os
import platform
import shutil
import subprocess
import sys

ANSWER_WITHIN = 3  # seconds that the index of the CPU build has to answer
CPU_BUILD = "PyTorch's CPU build (about 0.7 GB to download, 3 GB on disk with all packages)"
DEFAULT_BUILD = (
    "PyTorch's default build with CUDA (about 3 GB to download, 7 GB on disk with all packages)"
)


def has_nvidia_gpu() -> bool:
    """Return whether nvidia-smi, a part of the driver, finds a GPU."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool], capture_output=True).returncode == 0


def cpu_index_answers(uv: str) -> bool:
    """Return whether uv finds PyTorch in the index of the CPU builds; nothing is installed."""
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
    """Return the value of UV_TORCH_BACKEND and a sentence with the reason.

    The value is empty for the default build.
    """
    if requested := os.environ.get("UV_TORCH_BACKEND"):
        return requested, f"UV_TORCH_BACKEND is set: installing the build {requested!r}."
    if platform.system() != "Linux":  # other default builds have no CUDA libraries
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
