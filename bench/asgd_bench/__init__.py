"""`asgd bench`: us and the peers side by side in one run, ratios first.

`figures`, `tables`, `model` and `results` are pure; `system`, `measurement`, `processes` and `environments` do the
work; `cases/` holds one file for each case, `peers/` one script for each peer. The product imports none of it.
"""
