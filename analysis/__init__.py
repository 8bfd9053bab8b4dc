"""Analysis: from a study's Parquet tables to events, verdicts and a report.

Each module answers one question with pure functions, lazy frame to lazy frame. Nothing heavy is imported
here; altair and lifelines are imported by the functions that need them.
"""
