"""``hpo-batch init``: a first sweep, from nothing or from the options of a script."""
