"""The two labels, and how the folders of a source name them."""

from __future__ import annotations

from typing import Final

NO_CRACK: Final = "no crack"
CRACK: Final = "crack"

#: In the order of the model's output: the score is the probability of the last one.
LABELS: Final = (NO_CRACK, CRACK)

#: The folder names of the Mendeley data set 5y9wdsg2zt, in lower case.
LABEL_OF_FOLDER: Final = {"negative": NO_CRACK, "positive": CRACK}

SPLITS: Final = ("train", "validation", "test")

#: Instead of a split: patches that would tie two splits together belong to none.
LEFT_OUT: Final = "left out"
