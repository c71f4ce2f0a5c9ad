"""Nested lists of every kind that Arrow knows: what is read are the numbers, wherever they lie.

The oracle is pyarrow's own conversion to Python's lists, or how the table was made: predictions of
the small regression run are ½ y + 0.1, y the last number of each input.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rational_icl._errors import LogError
from rational_icl.logs import import_runs, open_log

pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
from rational_icl.logs.importers import nested  # noqa: E402

LISTS: dict[str, Callable[[Any, int], Any]] = {
    "list": lambda kind, size: pa.list_(kind),
    "large_list": lambda kind, size: pa.large_list(kind),
    "fixed": lambda kind, size: pa.list_(kind, size),
    "view": lambda kind, size: pa.list_view(kind),
    "large_view": lambda kind, size: pa.large_list_view(kind),
}
NUMBERS = {
    "float64": pa.float64(),
    "float32": pa.float32(),
    "float16": pa.float16(),
    "int8": pa.int8(),
    "uint32": pa.uint32(),
    "int64": pa.int64(),
}
PAIRS = list(itertools.product(LISTS, LISTS))
TRIPLES = [tuple(np.random.default_rng(i).choice(list(LISTS), 3)) for i in range(20)]
POSITIONS, WIDTH, SEQUENCES = 4, 3, 150
STEPS = (10, 20)


def kind_of(lists: tuple[str, ...], shape: tuple[int, ...], number: Any) -> Any:
    for name, size in zip(reversed(lists), reversed(shape), strict=True):
        number = LISTS[name](number, size)
    return number


# --- one column ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("lists", [(), *((one,) for one in LISTS), *PAIRS, *TRIPLES], ids="-".join)
def test_any_rows_of_any_slice_are_those_of_python(lists, number):
    rng = np.random.default_rng([len(lists), *map(ord, "".join(lists))])
    shape = tuple(rng.integers(1, 4, size=len(lists)))
    values = rng.integers(0, 100, size=(40, *shape))
    column = pa.array(values.tolist(), kind_of(lists, shape, NUMBERS[number]))
    for _ in range(5):
        start, length = int(rng.integers(0, 40)), int(rng.integers(1, 40))
        part = column.slice(start, length)
        rows = rng.permutation(len(part))[: rng.integers(0, len(part) + 1)]
        found = nested.dense(part, rows)
        expected = np.array(part.to_pylist())[rows].reshape(len(rows), *found.shape[1:])
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.dtype(number)


@pytest.mark.parametrize("lists", PAIRS, ids="-".join)
def test_slices_of_what_was_put_together_and_cut_again(lists):
    values = np.arange(60.0).reshape(10, 3, 2)
    kind = kind_of(lists, (3, 2), pa.float64())
    pieces = [pa.array(values[at : at + 2].tolist(), kind) for at in (8, 0, 4)]
    joined = pa.concat_arrays(pieces).slice(1, 4)
    found = nested.dense(joined, np.arange(4))
    np.testing.assert_array_equal(found, values[[9, 0, 1, 4]])


def test_lists_whose_values_lie_in_any_order_and_overlap():
    views = pa.ListViewArray.from_arrays([4, 0, 1, 1], [2, 2, 2, 2], pa.array([1.0, 2, 3, 4, 5, 6]))
    found = nested.dense(views.slice(1), np.array([2, 0]))
    np.testing.assert_array_equal(found, [[2, 3], [1, 2]])


@pytest.mark.parametrize("lists", LISTS)
def test_codes_are_looked_up_at_every_level(lists):
    values = pa.array([[1.5, 2.5], [3.5, 4.5]], LISTS[lists](pa.float64(), 2))
    outer = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), values)
    found = nested.dense(outer.slice(1), np.arange(2))
    np.testing.assert_array_equal(found, [[1.5, 2.5], [3.5, 4.5]])
    numbers = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1, 1], pa.int8()), pa.array([5, 6, 7]))
    inner = pa.FixedSizeListArray.from_arrays(numbers, 2)
    np.testing.assert_array_equal(nested.dense(inner, np.arange(2)), [[7, 5], [6, 6]])


@pytest.mark.parametrize("lists", PAIRS, ids="-".join)
def test_what_is_missing_elsewhere_does_not_matter_and_here_is_said(lists):
    kind = kind_of(lists, (2, 2), pa.int64())
    outer, inner, number = [[1, 2], [3, 4]], [[1, 2], None], [[1, None], [3, 4]]
    for gap, words in ((None, "rows without a list"), (inner, "rows without a list")):
        column = pa.array([outer, gap, outer], kind)
        np.testing.assert_array_equal(nested.dense(column, np.array([0, 2])), [outer, outer])
        with pytest.raises(ValueError, match=words):
            nested.dense(column, np.array([0, 1]))
    column = pa.array([outer, number, outer], kind)
    np.testing.assert_array_equal(nested.dense(column, np.array([2])), [outer])
    with pytest.raises(ValueError, match="missing numbers"):
        nested.dense(column, np.array([1]))
    real = pa.array([outer, number], kind_of(lists, (2, 2), pa.float32()))
    np.testing.assert_array_equal(nested.dense(real, np.array([1])), [[[1, np.nan], [3, 4]]])


@pytest.mark.parametrize("lists", [one for one in LISTS if one != "fixed"])
def test_lists_of_different_lengths_are_said(lists):
    column = pa.array([[1, 2], [3]], LISTS[lists](pa.int64(), 0))
    with pytest.raises(ValueError, match="different lengths"):
        nested.dense(column, np.arange(2))
    np.testing.assert_array_equal(nested.dense(column, np.array([1])), [[3]])


@pytest.mark.parametrize(
    "kind",
    [pa.decimal128(10, 2), pa.string(), pa.bool_(), pa.null(), pa.struct([("x", pa.float64())])],
    ids=str,
)
def test_what_are_no_numbers_are_refused(kind):
    column = pa.nulls(3, pa.list_(pa.list_(kind, 2), 2))
    with pytest.raises(ValueError, match="expected floating-point numbers or integers"):
        nested.dense(column, np.arange(3))


def test_a_length_that_no_file_can_hold_is_refused_without_the_memory():
    views = pa.ListViewArray.from_arrays([0] * 200, [2**20] * 200, pa.array(np.zeros(2**20)))
    with pytest.raises(ValueError, match="too many numbers"):
        nested.dense(views, np.arange(200))


@pytest.mark.parametrize("lists", LISTS)
def test_numbers_that_arrow_itself_reads_otherwise_are_refused(lists, monkeypatch):
    column = pa.array([[1, 2], [3, 4], [5, 6]], LISTS[lists](pa.int64(), 2))
    extent = nested._extent

    def wrong(column: Any, index: np.ndarray) -> tuple[np.ndarray, int]:
        start, size = extent(column, index)
        return np.roll(start, 1), size

    monkeypatch.setattr(nested, "_extent", wrong)
    with pytest.raises(ValueError, match="differs between two ways of reading it"):
        nested.dense(column, np.arange(3))


# --- whole tables ----------------------------------------------------------------------------


def table_of(lists: tuple[str, str], number: Any, runs: tuple[str, ...] = ("a", "b")) -> tuple:
    """Tables of two runs and their inputs by (run, split), rows of the two in turn."""
    rng = np.random.default_rng(7)
    shape = (POSITIONS, WIDTH)
    inputs = {
        (run, split): rng.normal(size=(count, *shape)).astype(np.float16)
        for run in runs
        for split, count in (("id", SEQUENCES), ("ood", 10))
    }
    places = [
        (run, step, split, sequence)
        for step in STEPS
        for sequence in range(SEQUENCES)
        for run in runs
        for split in ("id", "ood")
        if sequence < len(inputs[run, split])
    ]
    given = np.array([inputs[run, split][at] for run, _, split, at in places])
    predicted = given[:, :, -1:].astype(np.float64) / 2 + 0.1
    columns = {
        key: list(values) for key, values in zip(PLACE, zip(*places, strict=True), strict=True)
    }
    columns["inputs"] = pa.array(given.tolist(), kind_of(lists, shape, pa.float32()))
    columns["predictions"] = pa.array(predicted.tolist(), kind_of(lists, (POSITIONS, 1), number))
    columns |= {key: [value] * len(places) for key, value in STATED.items()}
    columns["seed"] = [runs.index(run) for run, *_ in places]
    tasks = [
        {"run": run, "split": split, "task": task, "values": rng.normal(size=2).tolist()}
        for run in runs
        for split, count in (("tasks", 4), ("ood_tasks", 10))
        for task in range(count)
    ]
    kind = pa.schema([("run", pa.string()), ("split", pa.string()), ("task", pa.int32())])
    kind = kind.append(pa.field("values", LISTS[lists[0]](pa.float64(), 2)))
    return pa.table(columns), pa.Table.from_pylist(tasks, kind), inputs


PLACE = ("run", "step", "split", "sequence")
STATED = {
    "setting": "regression",
    "num_dims": 2,
    "context_length": POSITIONS,
    "noise_variance": 0.1,
    "num_tasks": 4,
    "batch_size": 8,
}


def holds(folder: Path, out: Path, inputs: dict, atol: float) -> None:
    """Import a folder and compare every number with how it was made."""
    import_runs([folder], out)
    log = open_log(out)
    assert set(log) == {"a", "b"}
    for (name, split), given in inputs.items():
        run = log[name]
        assert run.steps.tolist() == list(STEPS)
        np.testing.assert_array_equal(run.inputs(split), given)
        for checkpoint in range(len(STEPS)):
            found = run.predictions(split, checkpoint)
            np.testing.assert_allclose(found, given[:, :, -1:] / 2 + 0.1, atol=atol, rtol=0)


def split_of(table: Any, folder: Path, files: int, write: Callable[[Any, Path], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, len(table), files + 1).astype(int)
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        write(table.slice(start, stop - start), folder / f"part-{index}")


@pytest.mark.parametrize("lists", PAIRS, ids="-".join)
def test_parquet_of_any_lists_in_any_batches(tmp_path, lists):
    files, group = ((1, None), (2, 101))[PAIRS.index(lists) % 2]
    table, tasks, inputs = table_of(lists, pa.float64())

    def write(part: Any, path: Path) -> None:
        pq.write_table(part, path.with_suffix(".parquet"), row_group_size=group)

    split_of(table, tmp_path / "table", files, write)
    pq.write_table(tasks, tmp_path / "table" / "tasks.parquet")
    holds(tmp_path / "table", tmp_path / "log", inputs, 1e-3)


@pytest.mark.parametrize("number", ["float64", "float32", "float16"])
def test_predictions_of_any_width(tmp_path, number):
    table, tasks, inputs = table_of(("fixed", "fixed"), NUMBERS[number])
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "data.parquet")
    pq.write_table(tasks, tmp_path / "table" / "tasks.parquet")
    holds(tmp_path / "table", tmp_path / "log", inputs, 3e-3)


@pytest.mark.parametrize("lists", PAIRS, ids="-".join)
def test_arrow_of_any_lists_in_any_batches(tmp_path, lists):
    table, tasks, inputs = table_of(lists, pa.float32())
    new = (pa.ipc.new_stream, pa.ipc.new_file)[PAIRS.index(lists) % 2]

    def write(part: Any, path: Path, batch: int = 90) -> None:
        with new(str(path.with_suffix(".arrow")), part.schema) as writer:
            writer.write_table(part, max_chunksize=batch)

    split_of(table, tmp_path / "table" / "predictions", 3, write)
    split_of(tasks, tmp_path / "table" / "tasks", 1, write)
    holds(tmp_path / "table", tmp_path / "log", inputs, 1e-3)


@pytest.mark.parametrize("words", ["dictionary", "large_string", "string_view", "binary"])
def test_words_of_any_type(tmp_path, words):
    table, tasks, inputs = table_of(("fixed", "list"), pa.float32())
    kinds = {"large_string": pa.large_string(), "string_view": pa.string_view()}
    kinds |= {"binary": pa.binary(), "dictionary": pa.dictionary(pa.int8(), pa.string())}
    for name in ("run", "split", "setting"):
        column = table[name].combine_chunks()
        column = column.dictionary_encode() if words == "dictionary" else column.cast(kinds[words])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "data.parquet", row_group_size=70)
    pq.write_table(tasks, tmp_path / "table" / "tasks.parquet")
    holds(tmp_path / "table", tmp_path / "log", inputs, 1e-3)


@pytest.mark.parametrize("kind", [pa.float64(), pa.uint16(), pa.dictionary(pa.int8(), pa.int64())])
def test_whole_numbers_of_any_type(tmp_path, kind):
    table, tasks, inputs = table_of(("fixed", "list"), pa.float32())
    for name in ("step", "sequence", "num_dims", "num_tasks", "seed"):
        column = table[name].combine_chunks()
        coded = pa.types.is_dictionary(kind)
        column = column.dictionary_encode() if coded else column.cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "data.parquet")
    pq.write_table(tasks, tmp_path / "table" / "tasks.parquet")
    holds(tmp_path / "table", tmp_path / "log", inputs, 1e-3)


def test_files_of_different_types_are_one_table(tmp_path):
    folder = tmp_path / "table"
    folder.mkdir()
    for index, lists in enumerate([("fixed", "fixed"), ("large_view", "list"), ("list", "view")]):
        table, tasks, inputs = table_of(lists, [pa.float64(), pa.float32(), pa.float64()][index])
        part = table.slice(index * 200, 200 if index < 2 else None)
        step = part["step"].cast([pa.int64(), pa.uint8(), pa.float32()][index])
        part = part.set_column(part.schema.get_field_index("step"), "step", step)
        pq.write_table(part, folder / f"{index}.parquet", row_group_size=64)
    pq.write_table(tasks, folder / "tasks.parquet")
    holds(folder, tmp_path / "log", inputs, 1e-3)


@pytest.mark.parametrize("shape", ["outer", "inner"])
@pytest.mark.parametrize("lists", PAIRS[::6], ids="-".join)
def test_a_missing_list_is_one_sentence(tmp_path, lists, shape):
    table, tasks, _ = table_of(lists, pa.float64())
    values = table["predictions"].to_pylist()
    values[280] = None if shape == "outer" else [*values[280][:-1], None]
    column = pa.array(values, table.schema.field("predictions").type)
    table = table.set_column(table.schema.get_field_index("predictions"), "predictions", column)
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "data.parquet")
    pq.write_table(tasks, tmp_path / "table" / "tasks.parquet")
    with pytest.raises(LogError, match="column 'predictions' has rows without a list") as refused:
        import_runs([tmp_path / "table"], tmp_path / "log")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "log").exists()
