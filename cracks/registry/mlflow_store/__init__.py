"""MLflow: a run for each training, sweep and trial, and the model registry."""
