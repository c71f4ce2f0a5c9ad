"""Importing the published research code's cache: fake caches made by its literal procedure.

Tolerances: inputs of regression are kept in single precision, as the transformers read them;
log-probabilities in half precision, whose spacing in [4, 8) is 2⁻⁸; means in single precision.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from oracles import published

from rational_icl._errors import LogError
from rational_icl.cli import main
from rational_icl.logs import Run, import_runs, open_log
from rational_icl.logs.importers import tensors

torch = pytest.importorskip("torch", reason="files of tensors need torch")

HALF_ROUNDING = 2.0**-8
SINGLE_ROUNDING = 2.0**-22
STEPS = (20, 100, 3000)
SIZE, LENGTH, TASKS, EVAL_TASKS, SEED = 12, 9, 4, 500, 3
DIMS = {"categorical-sequence": 5, "linear-regression": 3, "classification": 2}


def configuration(setting: str, **changes: Any) -> dict[str, Any]:
    """As the published code writes it, and much else that is not looked at."""
    m = DIMS[setting]
    own = {
        "categorical-sequence": {"prior_params": [1] * m, "tokenizer_vocab": {"0": 0, "s": m}},
        "linear-regression": {"prior_params": [0, 1], "noise_variance": m / 256},
        "classification": {
            "prior_params": [0, 1 / m],
            "within_class_variance": 0.5,
            "noisy_items": True,
        },
    }[setting]
    config = {
        "setting": setting,
        "num_dims": m,
        "num_tasks": TASKS,
        "num_eval_tasks": EVAL_TASKS,
        "context_length": LENGTH,
        "random_seed": SEED,
        "per_device_train_batch_size": 64,
        "gradient_accumulation_steps": 1,
        "hidden_size": 64,
        "mlp_expansion_factor": 0.5,
        "num_hidden_layers": 2,
        "learning_rate": 0.0005,
        "zipf_param": 0,
        "lr_scheduler_kwargs": {},
        "save_steps": list(STEPS),
        **own,
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def tasks_of(setting: str, number: int, seed: int) -> np.ndarray:
    rng, m = np.random.default_rng(seed), DIMS[setting]
    if setting == "categorical-sequence":
        return rng.dirichlet(np.ones(m), size=number)
    if setting == "linear-regression":
        return rng.multivariate_normal(np.zeros(m), np.eye(m), size=number)
    items = rng.multivariate_normal(np.zeros(m), np.eye(m) / m, size=number)
    return np.concatenate([items, rng.choice(2, size=number)[:, None]], axis=1)


def outputs_of(setting: str, inputs: np.ndarray, tasks: np.ndarray, step: int) -> np.ndarray:
    """What a transformer that comes to know the tasks would have logged, in single precision."""
    rng, sure = np.random.default_rng(step), step / (step + 100)
    if setting == "categorical-sequence":
        logits = np.repeat(sure * np.log(tasks)[:, None, :], LENGTH + 1, axis=1)
        return (logits + 0.1 * rng.standard_normal(logits.shape)).astype(np.float32)
    if setting == "linear-regression":
        return (sure * np.einsum("spm,sm->sp", inputs[..., :-1], tasks)).astype(np.float32)
    right = 2.0 * np.eye(2)[tasks[:, -1].astype(int)]
    return (sure * right + 0.1 * rng.standard_normal(right.shape)).astype(np.float32)


def save_run(cache: Path, setting: str, name: str = "run", **changes: Any) -> Path:
    """One run with its tasks, for settings whose sequences can be drawn again."""
    config = configuration(setting, **changes)
    folder = cache / setting / "transformers" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.dump(config))
    m, seed = config["num_dims"], config["random_seed"]
    tables = {
        "train": (f"train-data/{m}dims-{config['num_tasks']}tasks-{seed}seed_data.npz", seed),
        "eval": (f"eval-data/{m}dims-{EVAL_TASKS}tasks-{seed + 1}seed_eval_data.npz", seed + 1),
    }
    for word, (path, table_seed) in tables.items():
        file = cache / setting / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        number = config["num_tasks"] if word == "train" else EVAL_TASKS
        tasks = tasks_of(setting, number, table_seed)
        np.savez(file, tasks=tasks)
        if setting == "classification":
            continue
        noise = m / 256
        inputs, which = published.sequences(setting, tasks, LENGTH, SIZE, seed, noise)
        for step in STEPS:
            save_outputs(folder, step, word, outputs_of(setting, inputs, tasks[which], step), seed)
    return folder


def save_outputs(folder: Path, step: int, word: str, outputs: Any, seed: int = SEED) -> Path:
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    path = checkpoint / f"outputs-{word}-{seed}seed-{len(outputs)}sequences.pt"
    torch.save(torch.from_numpy(outputs), path)
    return path


def save_sequences(folder: Path, path: Path, words: tuple[str, ...] = ("train", "eval")) -> Path:
    """Sequences of classification, given in a file, and outputs for them."""
    m, names = DIMS["classification"], {"train": "id", "eval": "ood", "iwl": "iwl"}
    rng, arrays = np.random.default_rng(8), {}
    for word in words:
        items = rng.standard_normal((SIZE, LENGTH, m))
        labels = rng.integers(2, size=(SIZE, LENGTH, 1)).astype(float)
        labels[:, -1] = -1
        arrays[f"{names[word]}_inputs"] = np.concatenate([items, labels], axis=2)
        came = arrays[f"{names[word]}_targets"] = np.arange(SIZE) // (SIZE // 2)
        for step in STEPS:
            tasks = came[:, None].astype(float)
            save_outputs(folder, step, word, outputs_of("classification", items, tasks, step))
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache with a run of urns and one of regression; copy it before changing it."""
    cache = tmp_path_factory.mktemp("published")
    for setting in ("categorical-sequence", "linear-regression"):
        save_run(cache, setting)
    return cache


@pytest.fixture
def urns(caches: Path, tmp_path: Path) -> Path:
    """A run of urns that may be spoilt."""
    shutil.copytree(caches / "categorical-sequence", tmp_path / "cache" / "categorical-sequence")
    return tmp_path / "cache" / "categorical-sequence" / "transformers" / "run"


@pytest.fixture
def regression(caches: Path, tmp_path: Path) -> Path:
    """A run of regression that may be spoilt."""
    shutil.copytree(caches / "linear-regression", tmp_path / "cache" / "linear-regression")
    return tmp_path / "cache" / "linear-regression" / "transformers" / "run"


def import_one(path: Path, out: Path, **options: Any) -> Run:
    (packed,) = import_runs([path], out, **options)
    return Run(packed)


def refusal(path: Path, out: Path, **options: Any) -> str:
    """The message with which a cache is refused, after checking that nothing was left."""
    with pytest.raises(LogError) as refused:
        import_runs([path], out, **options)
    assert not out.exists()
    message = str(refused.value)
    assert "\n" not in message
    return message


def reconfigure(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    kept = {key: value for key, value in {**config, **changes}.items() if value is not None}
    (folder / "config.yaml").write_text(yaml.dump(kept))


# --- what is accepted ------------------------------------------------------------------------


def test_urns_come_back_with_the_sequences_of_the_literal_procedure(urns, tmp_path):
    run = import_one(urns, tmp_path / "log")
    assert run.name == "run"
    assert run.metadata.setting.name == "categorical"
    assert run.metadata.setting.parameters() == {"num_dims": 5, "context_length": LENGTH}
    assert (run.metadata.num_tasks, run.metadata.seed, run.metadata.batch_size) == (TASKS, SEED, 64)
    assert run.metadata.factors == {
        "width": 64,
        "mlp_factor": 0.5,
        "layers": 2,
        "learning_rate": 0.0005,
    }
    np.testing.assert_array_equal(run.steps, STEPS)
    tables = {"id": tasks_of("categorical-sequence", TASKS, SEED)}
    tables["ood"] = tasks_of("categorical-sequence", EVAL_TASKS, SEED + 1)
    np.testing.assert_allclose(run.tasks, tables["id"], rtol=1e-15)
    for split, tasks in tables.items():
        inputs, which = published.sequences("categorical-sequence", tasks, LENGTH, SIZE, SEED)
        np.testing.assert_array_equal(run.inputs(split), inputs)
        for checkpoint, step in enumerate(STEPS):
            logits = outputs_of("categorical-sequence", inputs, tasks[which], step)
            logits = logits[:, :-1].astype(np.float64)
            expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            np.testing.assert_allclose(
                run.logged(split, checkpoint), expected, rtol=0, atol=HALF_ROUNDING
            )
    run.validate()


def test_regression_comes_back_with_the_sequences_of_the_literal_procedure(regression, tmp_path):
    run = import_one(regression, tmp_path / "log")
    assert run.metadata.setting.parameters()["noise_variance"] == 3 / 256
    tables = {"id": tasks_of("linear-regression", TASKS, SEED)}
    tables["ood"] = tasks_of("linear-regression", EVAL_TASKS, SEED + 1)
    for split, tasks in tables.items():
        inputs, which = published.sequences(
            "linear-regression", tasks, LENGTH, SIZE, SEED, noise=3 / 256
        )
        found = run.inputs(split)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[..., :-1], inputs[..., :-1].astype(np.float32))
        np.testing.assert_allclose(found, inputs, rtol=SINGLE_ROUNDING, atol=SINGLE_ROUNDING)
        means = outputs_of("linear-regression", inputs, tasks[which], STEPS[2])
        np.testing.assert_array_equal(run.predictions(split, 2)[..., 0], means)
    run.validate()


def test_a_cache_a_setting_and_a_run_are_told_apart(caches, tmp_path):
    save_run(tmp_path / "more", "categorical-sequence", "second", num_tasks=8)
    setting = tmp_path / "more" / "categorical-sequence"
    assert list(open_log(make(caches / "categorical-sequence", tmp_path / "one"))) == ["run"]
    assert list(open_log(make(setting / "transformers" / "second", tmp_path / "two"))) == ["second"]
    shutil.copytree(caches, tmp_path / "more", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "more" / "linear-regression")
    assert list(open_log(make(tmp_path / "more", tmp_path / "three"))) == ["run", "second"]


def make(path: Path, out: Path) -> Path:
    import_runs([path], out)
    return out


def test_two_settings_with_runs_of_one_name_are_refused(caches, tmp_path):
    assert "run 'run' is already in" in refusal(caches, tmp_path / "log")


def test_values_that_the_configuration_leaves_out_are_stated(regression, tmp_path):
    reconfigure(regression, noise_variance=None)
    message = refusal(regression, tmp_path / "log")
    assert "noise_variance is missing; state it with --set noise_variance=NUMBER" in message
    assert "num_dims / 256" in message
    run = import_one(regression, tmp_path / "log", stated={"noise_variance": 3 / 256})
    assert run.metadata.setting.parameters()["noise_variance"] == 3 / 256


def test_gradients_accumulated_count_into_the_batch(urns, tmp_path):
    reconfigure(urns, gradient_accumulation_steps=4)
    assert import_one(urns, tmp_path / "log").metadata.batch_size == 256


@pytest.mark.parametrize("words", [("train", "eval"), ("train", "eval", "iwl")])
def test_classification_takes_its_sequences_from_a_file(tmp_path, words):
    folder = save_run(tmp_path / "cache", "classification")
    path = save_sequences(folder, tmp_path / "sequences.npz", words)
    run = import_one(folder, tmp_path / "log", sequences=path)
    given = np.load(path)
    assert run.splits == ("id", "ood", "iwl")[: len(words)]
    for split in run.splits:
        np.testing.assert_array_equal(run.inputs(split), given[f"{split}_inputs"])
        np.testing.assert_array_equal(run.targets(split), given[f"{split}_targets"])
    outputs = torch.load(next(folder.rglob("checkpoint-20/outputs-eval*.pt")), weights_only=True)
    expected = torch.softmax(outputs.double(), dim=1).numpy()
    np.testing.assert_allclose(run.predictions("ood", 0)[:, 0], expected, rtol=HALF_ROUNDING)
    shutil.copy(path, tmp_path / "run.npz")
    import_runs([folder], tmp_path / "again", sequences=tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_outputs_of_any_floating_point_width_are_accepted(urns, tmp_path, dtype):
    for path in urns.rglob("*.pt"):
        torch.save(torch.load(path, weights_only=True).to(dtype), path)
    import_one(urns, tmp_path / "log").validate()


def test_outputs_of_untrained_models_and_other_files_are_not_looked_at(urns, tmp_path):
    for path in urns.rglob("outputs-train*.pt"):
        path.with_name(path.stem + "-random.pt").write_text("another model")
        (path.parent / "metrics-train-3seed-12sequences.json").write_text(json.dumps({}))
    (urns.parent / ".hidden").mkdir()
    import_runs([urns.parents[1]], tmp_path / "log")


# --- what is refused -------------------------------------------------------------------------


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickled object was loaded",))


def rewrite(value: Any) -> Callable[[Path], None]:
    return lambda run: torch.save(value, next(run.rglob("checkpoint-100/outputs-eval*.pt")))


def spoil_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        path = next(run.rglob("checkpoint-100/outputs-train*.pt"))
        path.write_bytes(change(path.read_bytes()))

    return spoil


def flip_a_number(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def shuffle_tasks(run: Path) -> None:
    (path,) = (run.parents[1] / "data" / "train-data").iterdir()
    np.savez(path, tasks=np.load(path)["tasks"][::-1])


def other_eval_tasks(run: Path) -> None:
    (path,) = (run.parents[1] / "data" / "eval-data").iterdir()
    np.savez(path, tasks=tasks_of("categorical-sequence", EVAL_TASKS, 99))


def other_seed(run: Path) -> None:
    for path in run.rglob("*.pt"):
        path.rename(path.with_name(path.name.replace("-3seed-", "-4seed-")))


def two_kinds(run: Path) -> None:
    path = next(run.rglob("checkpoint-20/outputs-train*.pt"))
    shutil.copy(path, path.with_name("outputs-train-3seed-13sequences.pt"))


def text(content: str) -> Callable[[Path], None]:
    return lambda run: (run / "config.yaml").write_text(content) and None


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda run: reconfigure(run, **changes)


def remove(pattern: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        found = next(run.parents[1].rglob(pattern))
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return spoil


EXPANDED = torch.zeros(1).expand(SIZE, LENGTH + 1, 5)
BAD = {
    "dict": (rewrite({"outputs": torch.zeros(2)}), ("checkpoint-100", "holds a dict")),
    "list": (rewrite([torch.zeros(2)] * 2), ("holds a list",)),
    "integers": (rewrite(torch.zeros(2, dtype=torch.int64)), ("checkpoint-100", "LongStorage")),
    "parameter": (rewrite(torch.nn.Parameter(torch.zeros(2))), ("_rebuild_parameter",)),
    "sparse": (rewrite(torch.eye(2).to_sparse()), ("not a readable file of one tensor",)),
    "object": (rewrite(Bomb()), ("refers to '_pytest.outcomes",)),
    "shape": (rewrite(torch.zeros(2, 3)), ("shape (2, 3); expected (sequence, position + 1",)),
    "expanded": (rewrite(EXPANDED), ("more numbers than it holds",)),
    "NaN": (rewrite(torch.full((SIZE, LENGTH + 1, 5), torch.nan)), ("contains NaN",)),
    "flipped": (spoil_bytes(flip_a_number), ("checkpoint-100", "checksum")),
    "half": (spoil_bytes(lambda good: good[: len(good) // 2]), ("damaged",)),
    "empty": (spoil_bytes(lambda good: b""), ("damaged",)),
    "tasks reordered": (shuffle_tasks, (", id, last checkpoint: the sequences do not belong",)),
    "other eval tasks": (other_eval_tasks, (", ood, last checkpoint: the sequences do not",)),
    "seed in names": (other_seed, ("the sequences do not belong",)),
    "two kinds": (two_kinds, ("3seed-12sequences, 3seed-13sequences; keep those of one kind",)),
    "no eval": (remove("checkpoint-100/outputs-eval*"), ("checkpoint-100: no outputs-eval",)),
    "no checkpoints": (remove("checkpoints"), ("no checkpoints/checkpoint-<step>",)),
    "no tasks": (remove("train-data/*"), ("5dims-4tasks-3seed_data.npz: no such file",)),
    "no eval tasks": (remove("eval-data/*"), ("5dims-500tasks-4seed_eval_data.npz: no such",)),
    "no seed": (config(random_seed=None), ("random_seed is missing; state it with --set",)),
    "bool": (config(num_tasks=True), ("num_tasks is not a whole number",)),
    "path": (config(num_tasks="../x"), ("num_tasks is not a whole number",)),
    "huge": (config(num_tasks=10**30), ("num_tasks is not a whole number",)),
    "setting": (config(setting="markov"), ("categorical-sequence, linear-regression",)),
    "prior": (config(prior_params=[2] * 5), ("prior_params is not [1, 1, 1, 1, 1]",)),
    "Zipf": (config(zipf_param=1.5), ("zipf_param is not 0",)),
    "tag": (text("!!python/object/apply:os.getcwd []"), ("not readable as plain YAML",)),
    "cut": (text("setting: [1, 2"), ("not readable as plain YAML",)),
    "deep": (text("[" * 3000), ("not readable as plain YAML",)),
    "long": (text("a: b\n" * 20000), ("longer than 65536 bytes",)),
    "not keys": (text("- 1"), ("not a list of keys",)),
    "sequences": (lambda run: None, ("sequences are drawn again; leave --sequences out",)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_a_sentence(urns, tmp_path, name):
    spoil, phrases = BAD[name]
    spoil(urns)
    options = {"sequences": tmp_path} if name == "sequences" else {}
    message = refusal(urns, tmp_path / "log", **options)
    assert all(phrase in message for phrase in phrases), message


def test_a_value_that_contradicts_the_configuration_is_refused(regression, tmp_path):
    message = refusal(regression, tmp_path / "log", stated={"noise_variance": 1.0})
    assert "says another noise_variance than 1.0" in message
    assert "no key to set" in refusal(regression, tmp_path / "log", stated={"noise": 1.0})


def test_another_noise_than_that_of_the_draws_shows(regression, tmp_path):
    """So much noise that x·w of the transformer's own sequences is no better than of others."""
    reconfigure(regression, noise_variance=1e6)
    assert "do not belong" in refusal(regression, tmp_path / "log")


def test_classification_without_its_sequences_is_refused(tmp_path):
    folder = save_run(tmp_path / "cache", "classification")
    path = save_sequences(folder, tmp_path / "sequences.npz")
    assert "--sequences FILE" in refusal(folder, tmp_path / "log")
    arrays = dict(np.load(path))
    del arrays["ood_targets"]
    np.savez(path, **arrays)
    assert "missing ood_targets" in refusal(folder, tmp_path / "log", sequences=path)
    arrays = {**dict(np.load(path)), "ood_targets": arrays["id_targets"]}
    np.savez(path, **{**arrays, "id_targets": 1 - arrays["id_targets"]})
    assert "id, last checkpoint: the seq" in refusal(folder, tmp_path / "log", sequences=path)
    np.savez(path, **{key: value[:-1] for key, value in arrays.items()})
    message = refusal(folder, tmp_path / "log", sequences=path)
    assert "11 id sequences, but outputs of 12" in message


def test_without_torch_the_extra_is_named(urns, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refusal(urns, tmp_path / "log")
    assert "pip install 'rational_icl[torch]'" in message


def test_a_torch_that_could_run_code_is_refused(urns, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    assert "2.6 or later is needed" in refusal(urns, tmp_path / "log")


def test_a_tensor_file_that_claims_more_than_it_holds_is_refused(urns, tmp_path):
    path = next(urns.rglob("checkpoint-3000/outputs-train*.pt"))
    with pytest.raises(LogError, match="expected \\(a, b\\) = \\(9, 9\\)"):
        tensors.load(path, (9, 9), "a, b")


def test_on_the_command_line(caches, tmp_path):
    words = ["import", str(caches / "linear-regression"), "--out", str(tmp_path / "log")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.output == f"{tmp_path / 'log' / 'run.zarr.zip'}\n"
    result = CliRunner().invoke(main, [*words, "--set", "noise_variance=2"])
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    result = CliRunner().invoke(main, ["import", str(tmp_path), "--out", str(tmp_path / "other")])
    assert result.exit_code == 2
    assert "of no known format" in result.stderr
