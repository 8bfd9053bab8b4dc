"""A study in the formats of other tools, read from the same tables as the report: each file here is one format."""
