"""From nothing to a certified policy within one run, certified at any time, and put to work at once [T13, T14].

`level_tests` are the e-processes that certify, `plan` says when certifying further is worth its price, `course` is the
state machine on arrays, `pilot` the same fed with the ledger of a run, and `fit_levels` fits the path of policies.
"""
