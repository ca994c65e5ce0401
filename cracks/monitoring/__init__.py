"""Monitoring: what the prediction log tells of drift, and what people say was right."""
