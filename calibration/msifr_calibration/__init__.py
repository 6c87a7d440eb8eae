"""Calibration: from recorded traces to a certified discard policy."""

from msifr_calibration.beliefs.cost_to_go import fit_cost_to_go
from msifr_calibration.beliefs.linear import FittedPosterior, fit_posterior
from msifr_calibration.beliefs.network import LearnedBeliefs, LearnOptions, learn_beliefs, with_words
from msifr_calibration.beliefs.words import WordOdds, WordRows, learn_word_odds, read_words
from msifr_calibration.certificate import Tested, certificate_of, fixed_sequence_test
from msifr_calibration.fit import (
    Fit,
    Learned,
    best_length_cap,
    certify,
    certify_pools,
    fit_families,
    fit_policy,
    learn,
    learn_families,
)
from msifr_calibration.path import Path, fit_path, threshold_stops, thresholds_at_price
from msifr_calibration.split import folds, split_by_prompt

__all__ = [
    "Fit",
    "FittedPosterior",
    "LearnOptions",
    "Learned",
    "LearnedBeliefs",
    "Path",
    "Tested",
    "WordOdds",
    "WordRows",
    "best_length_cap",
    "certificate_of",
    "certify",
    "certify_pools",
    "fit_cost_to_go",
    "fit_families",
    "fit_path",
    "fit_policy",
    "fit_posterior",
    "fixed_sequence_test",
    "folds",
    "learn",
    "learn_beliefs",
    "learn_families",
    "learn_word_odds",
    "read_words",
    "split_by_prompt",
    "threshold_stops",
    "thresholds_at_price",
    "with_words",
]
