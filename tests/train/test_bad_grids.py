"""A grid that cannot be trained is refused in one sentence, before anything is written."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rational_icl.cli import main

SMALL = "--num-tasks 2 --seeds 0 --steps 6 --num-checkpoints 2 --first-checkpoint 2 --width 16"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set num_dims=4", "name each parameter once"),
        ("--set task_exponent=1 --set task_exponent=2", "name each parameter once"),
        ("--set banana=1", "banana not known"),
        ("--setting regression --set noise_var=1", "noise_var not known"),
        ("--setting regression", "noise_variance missing"),
        ("--num-tasks 0", "num_tasks: 0"),
        ("--num-tasks 4,4", "different numbers"),
        ("--seeds -1", "seeds: -1"),
        ("--num-heads 3", "16 over 3 heads"),
        ("--num-heads 16", "16 over 16 heads is not an even number"),
        ("--num-layers 0", "num_layers is 0"),
        ("--width 0", "width is 0"),
        ("--mlp-factor 0", "at least one unit"),
        ("--clip-norm -1", "clip_norm is -1.0"),
        ("--learning-rate nan", "learning_rate is nan"),
        ("--first-checkpoint 9", "first_checkpoint is 9"),
        ("--num-checkpoints 100", "different steps"),
    ],
)
def test_the_mistake_is_named(tmp_path: Path, words: str, message: str):
    command = ["train", str(tmp_path / "out"), *SMALL.split(), *words.split()]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
