"""Many trials of one shape, trained as one model in one process.

`layers` computes a layer of K models at once, `stack` turns a model into K of it, `masks` draws their dropout, `block`
trains them, and `many` is the loop over trials behind every `train_many`.
"""
