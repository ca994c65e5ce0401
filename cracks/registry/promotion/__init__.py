"""Promotion and rollback as one transaction, and the audit of what they left."""
