"""What a person sees on a terminal: tables, progress, and a study's plan and state in words."""
