"""From Parquet parts to the lazy frames of one study. The only readers of the metric tables here."""
