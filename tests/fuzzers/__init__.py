"""What readers are fuzzed with, and what must hold: for the property tests and for ``benchmarks/fuzz.py`` alike."""
