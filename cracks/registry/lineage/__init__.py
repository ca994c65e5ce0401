"""From a prediction back to the data, and from a model version back to its workspace."""
