"""The whole stack on one machine: databases, storage, MLflow, Prefect, a worker, the service."""
