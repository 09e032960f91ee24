"""From a trials table to findings: every p-value and every interval of the project is computed here."""
