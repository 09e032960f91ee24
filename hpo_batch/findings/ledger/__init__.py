"""How good past advice was: what refine, propose and confirm predicted, beside what came."""
