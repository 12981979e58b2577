"""A run that goes on for more epochs than it began with."""

from pathlib import Path
from typing import NamedTuple

from ner.config import to_json
from ner.errors import DataError
from ner.files import add_file_name, read_json, whole_file
from ner.runtime.logs import log
from ner.training.params import Config


class Extension(NamedTuple):
    """What resolved.json says of a run's epochs, and over how many the schedule runs from now on."""

    epoch_num: int
    schedule_epochs: int
    note: str = ""
    "how the schedule goes on, if there are more epochs than in resolved.json"


def plan_extension(directory: Path, config: Config, *, extend: bool) -> Extension:
    """DataError if `config` asks for more epochs, which moves the schedule's end, without `extend`."""
    before, asked = read_json(directory / "resolved.json"), config.epoch_num
    began_with = (before.get("params") or {}).get("epoch_num", asked)
    schedule_epochs = before.get("schedule_epochs", began_with)
    if not isinstance(began_with, int) or asked <= began_with:
        return Extension(asked, schedule_epochs)
    grows = f"epoch_num grows from {began_with} to {asked}"
    if config.schedule == "constant":
        return Extension(began_with, schedule_epochs, f"{grows}: the learning rate stays constant")
    if not extend:
        remedy = f"--extend stretches the schedule {config.schedule!r} over {asked} epochs"
        got = f"params.epoch_num is {asked}, expected {began_with} as when the run began"
        raise DataError(f"{directory}: {got}; {remedy}")
    note = f"{grows}: the schedule {config.schedule!r}, warm-up included, now ends there"
    return Extension(began_with, asked, note)


def record_extension(directory: Path, extension: Extension, config: Config) -> None:
    """Writes the new number of epochs into resolved.json, so that the run goes on as extended."""
    path = directory / "resolved.json"
    values = read_json(path)
    values["params"]["epoch_num"] = config.epoch_num
    with add_file_name(path), whole_file(path) as file:
        file.write(to_json(values | {"schedule_epochs": extension.schedule_epochs}))
    log.info(extension.note)
