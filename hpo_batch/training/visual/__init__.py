"""Visual classification of tasks: which category does a task belong to, of which a few pairs of colour grids are shown?

`train:train` is the objective, `size:n_params` its parameter count without torch, `settings:Settings` the parameters.
"""
