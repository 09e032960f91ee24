"""Findings as documents: Markdown, one HTML file, JSON, LaTeX tables, SVG figures. Nothing is computed here."""
