"""What is deployed to Prefect: work pool, deployments, notifications and automations."""
