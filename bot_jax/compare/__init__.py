"""Runs beside each other, the paper and other frameworks, on equal terms: docs/compare.md."""
