"""What a sweep may vary: keys that exist, with values that they can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cracks.errors import ParamsError
from cracks.training.sweep.search_space import (
    Choice,
    Range,
    all_combinations,
    assigned,
    combinations_of,
    options_of,
    space_of,
)
from cracks.workspace.params import FeaturizeParams
from cracks.workspace.params_file import load_params, set_params
from tests.unit.builders import ROOT, params_with

PARAMS = params_with()


def _only(text: str) -> Range | Choice:
    (values,) = space_of([text], PARAMS).values()
    return values


@pytest.mark.parametrize(
    ("text", "logarithmic", "whole"),
    [
        ("train.learning_rate=0.003..0.03", True, False),
        ("train.learning_rate=0.004..0.03", False, False),
        ("train.learning_rate=1..2", False, False),
        ("train.dropout=0..0.5", False, False),
        ("train.batch_size=8..128", True, True),
        ("train.epochs=2..9", False, True),
    ],
)
def test_a_range_is_logarithmic_from_a_factor_of_ten_on_and_whole_where_the_key_is(
    text: str, logarithmic: bool, whole: bool
) -> None:
    values = _only(text)
    assert isinstance(values, Range)
    assert (values.logarithmic, values.whole) == (logarithmic, whole)


def test_a_tried_number_is_short_and_within_its_range() -> None:
    values = Range(0.00033333, 0.0299999)
    assert values.rounded(0.0123456789) == 0.0123
    assert values.rounded(0.00033334) == 0.00033333
    assert values.rounded(0.02999999) == 0.0299999
    assert Range(2, 9).rounded(3) == 3


def test_a_list_holds_values_as_params_yaml_has_them() -> None:
    assert _only("train.batch_size=32,64") == Choice((32, 64))
    assert _only("train.augment.flip=true, false") == Choice((True, False))
    assert _only("featurize.architecture=cnn,mobilenetv2") == Choice(("cnn", "mobilenetv2"))
    assert _only("train.dropout=0.1") == Choice((0.1,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rat=1..2", r"unknown key train.learning_rat. .*train.learning_rate\?"),
        ("train.augment=1..2", "unknown key train.augment"),
        ("split.train=0.5..0.8", "split.train cannot vary.*featurize and train"),
        ("evaluate.resamples=100,200", "evaluate.resamples cannot vary"),
        ("train.dropout", "`--vary train.dropout` names no values"),
        ("train.dropout=", "names no values"),
        ("train.dropout=0.5..0.1", "is not a range"),
        ("train.dropout=0.1..0.1", "is not a range"),
        ("train.dropout=a..b", "is not a range"),
        ("train.dropout=..0.5", "'' is no single value"),
        ("train.dropout=0.1,,0.2", "'' is no single value"),
        ("train.dropout=[1,2]", "is no single value"),
        ("train.dropout=0.1,0.1", "names a value twice"),
        ("train.dropout=0..1", "train.dropout: input should be less than 1, not 1.0"),
        ("train.epochs=0..5", "train.epochs: input should be greater than or equal to 1, not 0"),
        ("train.epochs=1..2.5", "whole numbers"),
        ("train.mode=probe,learn", "train.mode: .* not 'learn'"),
        ("train.mode=1..2", "train.mode is no number"),
        ("train.augment.flip=0..1", "train.augment.flip is no number"),
        ("train.augment.flip=true,1.5", "train.augment.flip: .* not 1.5"),
    ],
)
def test_what_cannot_vary_so_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        space_of([text], PARAMS)


def test_a_key_is_named_once() -> None:
    with pytest.raises(ParamsError, match=r"train.dropout` is given twice"):
        space_of(["train.dropout=0..0.2", "train.dropout=0.3..0.4"], PARAMS)


@pytest.mark.parametrize(
    ("mode", "weights", "architecture"),
    [
        ("auto", "none", "cnn"),
        ("auto", "imagenet", "mobilenetv2"),
        ("finetune", "imagenet", "mobilenetv2"),
    ],
)
def test_without_a_word_something_sensible_varies_in_every_mode(
    mode: str, weights: str, architecture: str
) -> None:
    network = {"architecture": architecture, "weights": weights}
    params = params_with(
        featurize=FeaturizeParams(**(PARAMS.featurize.model_dump() | network)),
        train=PARAMS.train.model_copy(update={"mode": mode}),
    )
    space = space_of([], params)
    assert {"train.learning_rate", "train.dropout"} <= set(space)
    assert ("train.finetune.learning_rate" in space) == (mode == "finetune")


def test_values_that_only_do_not_go_together_may_be_tried() -> None:
    assert _only("featurize.weights=none,imagenet") == Choice(("none", "imagenet"))


def test_a_combination_changes_its_keys_and_nothing_else() -> None:
    changed = assigned(PARAMS, {"train.dropout": 0.4, "train.augment.flip": False})
    assert (changed.train.dropout, changed.train.augment.flip) == (0.4, False)
    back = {
        "train.dropout": PARAMS.train.dropout,
        "train.augment.flip": PARAMS.train.augment.flip,
    }
    assert assigned(changed, back) == PARAMS


def test_a_combination_that_params_would_refuse_says_why() -> None:
    backbone = {"featurize.architecture": "mobilenetv2", "featurize.weights": "imagenet"}
    with pytest.raises(ParamsError, match=r"^train.mode scratch begins with random weights"):
        assigned(PARAMS, {**backbone, "train.mode": "scratch"})
    with pytest.raises(ParamsError, match=r"train.epochs: .*, not 0; train.dropout: .*, not 2"):
        assigned(PARAMS, {"train.epochs": 0, "train.dropout": 2})


def test_the_options_that_are_shown_give_the_very_same_parameters(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "train.learning_rate": 3.1e-05,
        "train.augment.flip": False,
        "train.batch_size": 64,
    }
    file = tmp_path / "params.yaml"
    file.write_bytes((ROOT / "params.yaml").read_bytes())
    shown = options_of(values)
    assert (
        shown == "-S train.learning_rate=3.1e-05 -S train.augment.flip=false -S train.batch_size=64"
    )
    set_params(file, [word for word in shown.split() if word != "-S"])
    assert load_params(file) == assigned(PARAMS, values)


def test_a_value_with_a_blank_is_quoted_for_the_shell() -> None:
    assert options_of({"featurize.weights": "my weights.h5"}) == (
        "-S 'featurize.weights=my weights.h5'"
    )


def test_combinations_are_counted_unless_a_number_need_not_be_whole() -> None:
    space = space_of(["train.epochs=2..4", "train.augment.flip=true,false"], PARAMS)
    assert combinations_of(space) == 6
    found = list(all_combinations(space))
    assert len(found) == 6
    assert found[0] == {"train.epochs": 2, "train.augment.flip": True}
    assert combinations_of(space_of(["train.dropout=0..0.5"], PARAMS)) is None
