"""Knowledge tracing: an attention encoder over a student's responses predicts whether the next one is right.

`train:train` is the objective, `size:n_params` its parameter count without torch, `settings:Settings` the parameters.
"""
