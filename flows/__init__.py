"""When the stages run, how often, and what happens if one fails (Prefect)."""
