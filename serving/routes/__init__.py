"""The routes of the service: one module a subject, each with `routes(service)`."""
