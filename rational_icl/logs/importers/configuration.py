"""`config.yaml` of a run of the published research code: what it is, and what is read from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from rational_icl import _guards
from rational_icl._arrays import whole
from rational_icl._errors import LogError
from rational_icl.logs import schema
from rational_icl.logs.importers import common
from rational_icl.logs.importers.published import PUBLISHED, Published

CONFIG = "config.yaml"
_NEEDED = (
    "num_tasks",
    "num_dims",
    "context_length",
    "per_device_train_batch_size",
    "random_seed",
)
_FACTORS = {
    "hidden_size": "width",
    "mlp_expansion_factor": "mlp_factor",
    "num_hidden_layers": "layers",
    "learning_rate": "learning_rate",
}
_DEFAULTS = {"gradient_accumulation_steps": 1, "num_eval_tasks": 500}
_MAX_BYTES = 2**16


class Configuration(NamedTuple):
    """What a run is, and from how many tasks its OOD sequences come."""

    published: Published
    metadata: schema.Metadata
    num_eval_tasks: int


def read(path: Path, stated: Mapping[str, float]) -> Configuration:
    """A run's configuration, with what a person states of it. Nothing in it is executed.

    Raises:
        LogError: it is damaged or incomplete, contradicts what is stated, or says that sequences
            were drawn in a way that is not known here.
    """
    config = _loaded(path, str(path))
    usual = {key for published in PUBLISHED.values() for key in published.usual}
    known = (*_NEEDED, *_FACTORS, *_DEFAULTS, *sorted(usual))
    for key, value in stated.items():
        if key not in known:
            raise LogError(f"{key!r} is no key to set; expected one of {', '.join(known)}")
        if config.get(key, value) != value:
            raise LogError(f"{path}: says another {key} than {value}, to which it was set")
    config = {**_DEFAULTS, **config, **stated}
    config |= {key: whole(config[key]) for key in (*_NEEDED, *_DEFAULTS) if key in config}
    published, metadata = _metadata(config, str(path))
    return Configuration(published, metadata, config["num_eval_tasks"])


def _loaded(path: Path, where: str) -> dict[str, Any]:
    if not path.exists():
        raise LogError(f"{path}: no such file; every run of a cache has one")
    with _guards.decoding(where, "not readable as plain YAML", "copy it again"):
        try:
            config = yaml.safe_load(_guards.read_bounded(path, _MAX_BYTES))
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None  # says where, on further lines
    if not isinstance(config, dict):
        raise LogError(f"{where}: not a list of keys with their values")
    return config


def _metadata(config: Mapping[str, Any], where: str) -> tuple[Published, schema.Metadata]:
    name = config.get("setting")
    if not isinstance(name, str) or name not in PUBLISHED:
        raise LogError(f"{where}: no setting that is one of {', '.join(PUBLISHED)}")
    published = PUBLISHED[name]
    for key in (*_NEEDED, *published.usual):
        if key not in config:
            usual = published.usual.get(key)
            hint = f" (the published code takes {usual})" if usual else ""
            raise LogError(f"{where}: {key} is missing; state it with --set {key}=NUMBER{hint}")
    for key in (*_NEEDED, *_DEFAULTS):
        if type(config[key]) is not int or not 0 <= config[key] < 2**31:
            raise LogError(f"{where}: {key} is not a whole number from 0 to 2^31")
    for key in published.usual:
        if type(config[key]) not in (int, float):
            raise LogError(f"{where}: {key} is not a number")
    values = {
        "setting": published.name,
        **{key: config[key] for key in ("num_tasks", "num_dims", "context_length")},
        **{key: config[key] for key in published.usual},
        "batch_size": config["per_device_train_batch_size"] * config["gradient_accumulation_steps"],
        "seed": config["random_seed"],
        **{
            common.FACTOR + factor: config[key] for key, factor in _FACTORS.items() if key in config
        },
    }
    metadata = common.metadata_of(values, (), where)
    for key, expected in published.assumed(metadata.setting.num_dims).items():
        if config.get(key) is not None and not _equal(config[key], expected):
            raise LogError(
                f"{where}: {key} is not {expected!r}; sequences drawn otherwise are not known here"
            )
    return published, metadata


def _equal(stated: Any, expected: Any) -> bool:
    numbers = stated if isinstance(stated, list) else [stated]
    expected = expected if isinstance(expected, list) else [expected]
    return len(numbers) == len(expected) and all(
        isinstance(number, int | float) and np.isclose(number, other, rtol=1e-12)
        for number, other in zip(numbers, expected, strict=True)
    )
