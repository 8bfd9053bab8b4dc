"""The report of a study: one page, its figures as files, and the answer as text, CSV and JSON."""
