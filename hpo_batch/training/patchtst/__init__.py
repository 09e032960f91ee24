"""PatchTST: a transformer over patches of a multivariate time series, trained to answer one yes-or-no question.

`train:train` is the objective, `size:n_params` its parameter count without torch, `settings:Settings` the parameters.
"""
