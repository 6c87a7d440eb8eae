"""Watching a certified policy at work: does its certificate still hold [T11, T12, T14]?

`scores` turns the finished prompts of a run into numbers; `alarms` and `confidence` say what they tell of the
false-reject rate f, `calibration_test` of the beliefs, `drift` of the evidence; `monitor` puts them together.
"""
