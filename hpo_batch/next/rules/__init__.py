"""What each decision asks of the trials: one module for each kind of change, and what is said where there is none.

Thresholds that say "convention" rest on no measurement: they are bounds that reviewers of a sweep expect.
"""
