"""params.yaml: what is unknown, missing or impossible is refused by name; comments survive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cracks.errors import ParamsError
from cracks.workspace.params import Params
from cracks.workspace.params_file import known_keys, load_params, set_params
from tests.unit.builders import ROOT

KEYS = known_keys()

#: Keys below which there may be any.
OPEN = {"register.limits"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def _edit(file: Path, key: str, *value: Any) -> Path:
    """Set a key without asking, or take it away where no value is given."""
    yaml = YAML(typ="safe")
    document = yaml.load(file)
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value:
        place[last] = value[0]
    else:
        del place[last]
    yaml.dump(document, file)
    return file


def test_the_projects_own_params_are_sound_and_complete(file: Path) -> None:
    assert sorted(_leaves(YAML(typ="safe").load(file))) == sorted(KEYS)
    assert isinstance(load_params(file), Params)


def _leaves(section: dict[str, Any], prefix: str = "") -> list[str]:
    leaves = []
    for key, value in section.items():
        is_section = isinstance(value, dict) and f"{prefix}{key}" not in OPEN
        leaves += _leaves(value, f"{prefix}{key}.") if is_section else [f"{prefix}{key}"]
    return leaves


@pytest.mark.parametrize("key", [*Params.model_json_schema()["properties"], *KEYS])
def test_a_missing_key_is_refused_by_name(file: Path, key: str) -> None:
    with pytest.raises(ParamsError, match=rf"missing key {key}\b.*Fix it in"):
        load_params(_edit(file, key))


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("trian", ""),
        ("train.epoch", r".* Did you mean train\.epochs\?"),
        ("train.augment.flop", ""),
        ("ingest.sample.size", ""),
    ],
)
def test_an_unknown_key_is_refused_by_name(file: Path, key: str, remedy: str) -> None:
    with pytest.raises(ParamsError, match=rf"unknown key {key}\b{remedy}"):
        load_params(_edit(file, key, 1))


@pytest.mark.parametrize("key", [key for key in KEYS if key != "export.formats"])
def test_a_value_of_another_kind_is_refused_by_name(file: Path, key: str) -> None:
    with pytest.raises(ParamsError, match=rf"params.yaml: {key}: .*, not \[1\]"):
        load_params(_edit(file, key, [1]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ingest.source", ""),
        ("ingest.patch_size", 15),
        ("ingest.patch_size", 4097),
        ("ingest.shard_rows", 0),
        ("ingest.sample.patches", 1),
        ("ingest.sample.seed", -1),
        ("validate.min_patches", 0),
        ("validate.min_crack_photographs", -1),
        ("validate.max_quarantine_share", 1.01),
        ("validate.max_brightness", 256),
        ("featurize.architecture", "resnet"),
        ("featurize.weights", ""),
        ("featurize.image_size", 31),
        ("featurize.precision", "f16"),
        ("featurize.precision", "fp32"),
        ("featurize.batch_size", 0),
        ("train.mode", "transfer"),
        ("train.device", "tpu"),
        ("train.device", 0),
        ("train.seed", 2**31),
        ("train.epochs", 0),
        ("train.epochs", 2.0),
        ("train.epochs", True),
        ("train.epochs", "2"),
        ("train.learning_rate", 0),
        ("train.learning_rate", float("inf")),
        ("train.learning_rate", 10.1),
        ("train.patience", 0),
        ("train.batch_size", 0),
        ("train.finetune.from_layer", ""),
        ("train.finetune.from_layer", 7),
        ("train.finetune.epochs", 0),
        ("train.finetune.learning_rate", 0),
        ("train.finetune.learning_rate", 10.1),
        ("train.dropout", 1),
        ("train.dropout", float("nan")),
        ("train.augment.flip", 1),
        ("evaluate.min_crack_recall", -0.01),
        ("evaluate.calibration", "platt"),
        ("evaluate.novelty.max_flagged", 0),
        ("evaluate.novelty.max_flagged", 0.5),
        ("evaluate.resamples", 99),
        ("evaluate.resamples", 100_001),
        ("evaluate.behaviour_patches", 1),
        ("evaluate.explained_patches", 1),
        ("evaluate.explained_patches", 25),
        ("evaluate.mistakes_shown", 0),
        ("evaluate.label_errors_shown", 0),
        ("export.formats", "openvino"),
        ("export.compared_patches", 0),
        ("export.max_score_difference", -0.001),
        ("export.max_score_difference", 1.01),
        ("export.max_flipped_share", 1.01),
        ("register.model_name", "a/b"),
        ("register.limits", {"evaluate.test.recall": {}}),
        ("register.limits", {"evaluate.test.recall": {"min": 0.9, "max": 0.8}}),
        ("register.limits", {"evaluate.test.recall": {"least": 0.9}}),
        ("register.limits", {"evaluate.test.recall": {"min": float("nan")}}),
        ("register.confidence", 0.5),
        ("register.confidence", 1),
        ("register.margins.recall", 0),
        ("register.verdicts.worse", "ignore"),
    ],
)
def test_an_impossible_value_is_refused_by_name(file: Path, key: str, value: Any) -> None:
    with pytest.raises(
        ParamsError, match=rf"params.yaml: {key}(\.evaluate\S*)?: |unknown key {key}"
    ):
        load_params(_edit(file, key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("register.limits", {}),
        ("register.limits", {"slices.*.crack_recall_low": {"min": 0, "max": 1}}),
        ("train.dropout", 0),
        ("train.learning_rate", 10),
        ("split.salt", ""),
        ("featurize.precision", "int8"),
        ("train.device", "gpu"),
        ("evaluate.calibration", "none"),
        ("evaluate.resamples", 100),
        ("evaluate.explained_patches", 24),
        ("export.formats", ["litert", "openvino", "onnx"]),
        ("export.max_flipped_share", 0),
    ],
)
def test_the_edge_of_what_is_possible_is_accepted(file: Path, key: str, value: Any) -> None:
    load_params(_edit(file, key, value))


def test_a_format_that_is_none_is_refused_by_name(file: Path) -> None:
    with pytest.raises(ParamsError, match=r"export\.formats\.1: .*, not 'tensorrt'"):
        load_params(_edit(file, "export.formats", ["openvino", "tensorrt"]))


@pytest.mark.parametrize("formats", [[], ["onnx"], ["onnx", "litert"], ["openvino", "openvino"]])
def test_a_bundle_without_the_network_that_serving_loads_is_refused(
    file: Path, formats: list[str]
) -> None:
    with pytest.raises(ParamsError, match=r"export: formats must name openvino") as refusal:
        load_params(_edit(file, "export.formats", formats))
    assert "\n" not in str(refusal.value)


# --- what is trained ------------------------------------------------------------------------------


def _of_network(file: Path, mode: str, weights: str, architecture: str = "mobilenetv2") -> Params:
    assignments = {
        "train.mode": mode,
        "featurize.weights": weights,
        "featurize.architecture": architecture,
    }
    return set_params(file, [f"{key}={value}" for key, value in assignments.items()])


@pytest.mark.parametrize(
    ("mode", "weights", "architecture", "found"),
    [
        ("auto", "imagenet", "mobilenetv2", "probe"),
        ("auto", "some/weights.h5", "efficientnetv2b0", "probe"),
        ("auto", "none", "mobilenetv2", "scratch"),
        ("auto", "none", "cnn", "scratch"),
        ("probe", "imagenet", "mobilenetv3small", "probe"),
        ("finetune", "imagenet", "mobilenetv2", "finetune"),
        ("finetune", "some/weights.h5", "mobilenetv2", "finetune"),
        ("scratch", "none", "efficientnetv2b0", "scratch"),
        ("scratch", "none", "cnn", "scratch"),
    ],
)
def test_what_is_trained_follows_from_the_weights_unless_it_is_named(
    file: Path, mode: str, weights: str, architecture: str, found: str
) -> None:
    assert _of_network(file, mode, weights, architecture).mode == found


@pytest.mark.parametrize(
    ("mode", "weights", "architecture", "remedy"),
    [
        ("scratch", "imagenet", "mobilenetv2", "featurize.weights=none"),
        ("scratch", "some/weights.h5", "mobilenetv2", "featurize.weights=none"),
        ("scratch", "imagenet", "cnn", "featurize.weights=none"),
        ("probe", "none", "mobilenetv2", "featurize.weights=imagenet"),
        ("finetune", "none", "mobilenetv2", "featurize.weights=imagenet"),
        ("auto", "imagenet", "cnn", "featurize.weights=none"),
        ("probe", "imagenet", "cnn", "featurize.weights=none"),
        ("finetune", "some/weights.h5", "cnn", "featurize.weights=none"),
        ("probe", "none", "cnn", "train.mode="),
        ("finetune", "none", "cnn", "train.mode="),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line_with_the_remedy(
    file: Path, mode: str, weights: str, architecture: str, remedy: str
) -> None:
    before = file.read_bytes()
    with pytest.raises(ParamsError, match=remedy) as refusal:
        _of_network(file, mode, weights, architecture)
    assert "\n" not in str(refusal.value)
    assert "Nothing was changed" in str(refusal.value)
    assert file.read_bytes() == before


def test_a_range_of_brightness_that_holds_nothing_is_refused(file: Path) -> None:
    with pytest.raises(ParamsError, match="brightness"):
        load_params(
            _edit(_edit(file, "validate.min_brightness", 200), "validate.max_brightness", 100)
        )


@pytest.mark.parametrize("content", [b"train: [", b"", b"- 1", b"train:\n  salt: \xff\n"])
def test_a_file_that_holds_no_params_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load_params(file)


def test_a_missing_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"does not exist. `git checkout params\.yaml`"):
        load_params(tmp_path / "params.yaml")


def test_setting_a_key_changes_its_line_and_no_other(file: Path) -> None:
    before = file.read_text().splitlines()
    params = set_params(file, ["train.epochs=3"])
    after = file.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.split()[:2] for line in changed] == [["epochs:", "3"]]
    assert params == load_params(file)
    assert params.train.epochs == 3


@pytest.mark.parametrize("key", KEYS)
def test_setting_what_is_set_already_leaves_the_file_untouched(file: Path, key: str) -> None:
    before, written = file.read_bytes(), file.stat().st_mtime_ns
    value: Any = YAML(typ="safe").load(file)
    for part in key.split("."):
        value = value[part]
    set_params(file, [f"{key}={str(value).lower() if isinstance(value, bool) else value}"])
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, written)


def test_keys_that_only_hold_together_are_set_together(file: Path) -> None:
    with pytest.raises(ParamsError, match="split: train, validation and test must add up to 1"):
        set_params(file, ["split.train=0.5"])
    assert set_params(file, ["split.train=0.5", "split.validation=0.3", "split.test=0.2"])


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("train.epochs", "has no `=`"),
        ("train.epoch=3", r"unknown key train\.epoch\. Did you mean train\.epochs\?"),
        ("train.epochs.most=3", r"unknown key train\.epochs\.most"),
        ("=3", "unknown key"),
        ("train.epochs=[", "is no YAML value"),
        ("train.epochs=", r"train\.epochs: .* Nothing was changed"),
        ("train.epochs=many", r"train\.epochs: .*, not 'many'. Nothing was changed"),
        ("train=3", r"train: .* Nothing was changed"),
        ("ingest.sample={patches: 9}", r"missing key ingest\.sample\.seed. Nothing was changed"),
    ],
)
def test_one_refused_assignment_changes_nothing(file: Path, assignment: str, reason: str) -> None:
    before = file.read_bytes()
    with pytest.raises(ParamsError, match=reason):
        set_params(file, ["train.patience=2", assignment])
    assert file.read_bytes() == before


def test_a_number_may_be_written_as_a_power_of_ten(file: Path) -> None:
    assert set_params(file, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4
    assert load_params(file).train.learning_rate == 1e-4


# --- limits of the gate, whose names have dots themselves -----------------------------------------


def test_a_limit_is_changed_by_its_name(file: Path) -> None:
    limits = set_params(file, ["register.limits.evaluate.test.accuracy.min=0.99"]).register_.limits
    assert limits["evaluate.test.accuracy"].min == 0.99


@pytest.mark.parametrize(
    "assignment",
    [
        "register.limits.slices.crack contrast.lowest.crack_recall.min=0.8",
        "register.limits.slices.crack contrast.lowest.crack_recall={min: 0.8}",
    ],
)
def test_a_limit_is_added_by_its_name(file: Path, assignment: str) -> None:
    before = load_params(file).register_.limits
    limits = set_params(file, [assignment]).register_.limits
    name = "slices.crack contrast.lowest.crack_recall"
    assert limits[name].min == 0.8
    assert {key: limit for key, limit in limits.items() if key != name} == before


def test_all_limits_are_replaced_at_once(file: Path) -> None:
    limits = set_params(file, ["register.limits={bundle.megabytes: {max: 9}}"]).register_.limits
    assert list(limits) == ["bundle.megabytes"]


def test_a_limit_of_no_report_is_refused(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ParamsError, match=r"evalute\.test\.f1 is no number of a report"):
        set_params(file, ["register.limits.evalute.test.f1.min=0.9"])
    assert file.read_bytes() == before
