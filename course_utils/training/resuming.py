"""Where an interrupted run continues, and the check that it is still the same run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from course_utils.data.fingerprint import changes
from course_utils.models.weights import load_weights
from course_utils.training.checkpointing import (
    BEST,
    LAST,
    LOG,
    DamagedCheckpointError,
    read_checkpoint,
)
from course_utils.training.recipes import Recipe
from course_utils.training.run import HISTORY_COLUMNS

RUN_ENTRIES = {"state_dict", "epoch", "callbacks", "recipe", "seed", "about"}  # all read here
PREFIX = "model."  # of the network's weights in a checkpoint


class OtherRunError(ValueError):
    """A folder holds a run with other settings, another network or other images."""


class ResumePoint(NamedTuple):
    """Where a run begins.

    Attributes:
        checkpoint: The file to continue from; None for a new run.
        ended_after: Number of epochs of a run that is over because it ran out of patience.
        rows: One row per epoch so far, for a checkpoint that doesn't hold them itself.
    """

    checkpoint: Path | None = None
    ended_after: int | None = None
    rows: tuple[dict[str, Any], ...] = ()


def resume_point(folder: Path, settings: dict[str, Any], model: nn.Module) -> ResumePoint:
    """Find the newest whole checkpoint of a run, and check that it belongs to the same run.

    Args:
        folder: Folder of the run.
        settings: The recipe, the seed, ``about`` and the images, as the checkpoint has them.
        model: The network that is trained. It gets the weights of the checkpoint.

    Warns:
        UserWarning: If a checkpoint is damaged or missing, so the run continues from the other one.

    Raises:
        DamagedCheckpointError: If there are checkpoints, but none is whole.
        OSError: If a checkpoint can't be opened.
        OtherRunError: If the run was started with other settings, another network or other images.
        ValueError: If a later version of the course wrote the checkpoint.
    """
    path, saved = _newest(folder)
    if path is None:
        return ResumePoint()
    _check_same_run(folder, saved, settings)
    try:
        load_weights(model, _network_weights(saved))
    except ValueError as error:
        raise OtherRunError(f"{path} can't be resumed with this network: {error}") from error
    callbacks = saved["callbacks"]
    stopping = [state for name, state in callbacks.items() if name.startswith("EarlyStopping")]
    over = any(state["wait_count"] >= state["patience"] for state in stopping)
    epoch = saved["epoch"] + 1
    # A checkpoint of an earlier version doesn't hold the history, but the log does.
    rows = () if "History" in callbacks else logged_rows(folder, epoch)
    return ResumePoint(path, epoch if over else None, rows)


def best_weights(folder: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """Read the weights of a run's best epoch, or of its last one if the best was lost.

    Raises:
        ValueError: If another run, with other settings, wrote the checkpoints meanwhile or deleted
            them.
    """
    best = folder / BEST
    try:
        saved = _read(best if best.exists() else folder / LAST)
        _check_same_run(folder, saved, settings)
    except (FileNotFoundError, OtherRunError) as error:
        raise ValueError(
            f"another run wrote into {folder} while this one was training, so the weights of this "
            "one are lost; give each run a folder of its own"
        ) from error
    return _network_weights(saved)


def _network_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    weights = saved["state_dict"].items()
    return {name.removeprefix(PREFIX): value.contiguous() for name, value in weights}


def _newest(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """Read both checkpoints of a run, and return the newer one with its path.

    They differ if the run was killed between the two, or if one of them is damaged.
    """
    whole, broken = {}, {}
    for name in (LAST, BEST):
        try:
            whole[name] = _read(folder / name)
        except FileNotFoundError:
            broken[name] = f"there is no {name} in {folder}"
        except DamagedCheckpointError as error:
            broken[name] = str(error)
    if not whole:
        if any((folder / name).exists() for name in (LAST, BEST)):
            raise DamagedCheckpointError(
                f"can't resume: {' and '.join(broken.values())}; start again without resume"
            )
        return None, {}
    # `max` prefers the first of two that are equally new, which is the last checkpoint.
    name = max(whole, key=lambda name: whole[name]["epoch"])
    epoch = whole[name]["epoch"] + 1
    if LAST in broken:
        _warn(f"{broken[LAST]}, so the run continues from {name}, after epoch {epoch}")
    if BEST in broken:
        rank_zero_only(_delete)(folder / BEST)
        _warn(f"{broken[BEST]}, so the best epoch is chosen from epoch {epoch} on")
    return folder / name, whole[name]


def _read(path: Path) -> dict[str, Any]:
    saved = read_checkpoint(path)
    if not (
        isinstance(saved, dict)
        and saved.keys() >= RUN_ENTRIES
        and isinstance(saved["recipe"], dict)
    ):
        raise DamagedCheckpointError(f"{path} is damaged, or fit didn't write it")
    return saved


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)


def _warn(message: str) -> None:
    rank_zero_only(warnings.warn)(message, stacklevel=5)


def _check_same_run(folder: Path, saved: dict[str, Any], settings: dict[str, Any]) -> None:
    begun = {**saved, "recipe": _recipe_of(saved, folder)}
    then, now = (
        {key: run[key] for key in ("recipe", "seed", "about")} for run in (begun, settings)
    )
    if different := list(_differences(then, now)):
        raise OtherRunError(
            f"the run in {folder} was started with {'; '.join(different)}. "
            "Resume it with the settings it was started with"
        )
    # A checkpoint of an earlier version has no record of its images.
    if "data" in saved and (found := changes(saved["data"], settings["data"])):
        raise OtherRunError(
            f"the images have changed since the run in {folder} was started: {'; '.join(found)}. "
            "Resume it with the images it was started with"
        )


def _recipe_of(saved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the recipe of a checkpoint, with defaults for fields that are newer than it."""
    later = f"a later version of the course wrote the checkpoints in {folder}"
    if unknown := sorted(saved["recipe"].keys() - {field.name for field in fields(Recipe)}):
        raise ValueError(f"{later}: this version's recipes have no field {', '.join(unknown)}")
    try:
        return asdict(Recipe(**saved["recipe"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{later}: {error}") from error


def _differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Describe the entries in which two dictionaries differ, including nested ones."""
    for name in {**then, **now}:
        old, new = then.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new)
        elif old != new:
            yield f"{name}={old!r}, now {new!r}"


def log_files(folder: Path) -> list[Path]:
    """Return the log files of a run, the oldest first; each time it is resumed adds a new one."""
    versions = {
        int(number): path
        for path in (folder / LOG).glob("version_*")
        if (number := path.name.removeprefix("version_")).isdecimal()
    }
    return [versions[number] / "metrics.csv" for number in sorted(versions)]


def logged_rows(folder: Path, epochs: int) -> tuple[dict[str, Any], ...]:
    """Return the first epochs from the log, one row per epoch that it contains completely.

    Warns:
        UserWarning: If a log is damaged, or lacks epochs.
    """
    # An epoch has several rows: Lightning writes one for training and one for validation, and a
    # resumed run repeats an epoch that was interrupted. `last` takes the newest value per column.
    logs = pd.concat([pd.DataFrame(columns=HISTORY_COLUMNS), *map(_read_log, log_files(folder))])
    rows = logs.groupby("epoch", as_index=False).last()[HISTORY_COLUMNS].dropna()
    rows = rows[rows.epoch < epochs].assign(epoch=rows.epoch.astype(int) + 1)
    if len(rows) < epochs:
        _warn(f"the log in {folder} has {len(rows)} of {epochs} epochs, so the history is short")
    return tuple(rows.to_dict("records"))


def _read_log(path: Path) -> pd.DataFrame:
    """Read one log as numbers. Anything else becomes NaN, and an unreadable log has no rows."""
    try:
        log = pd.read_csv(path, on_bad_lines="skip", encoding_errors="replace")
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError):
        log = pd.DataFrame()
    return log.reindex(columns=HISTORY_COLUMNS).apply(pd.to_numeric, errors="coerce")
