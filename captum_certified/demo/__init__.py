"""The command ``captum-certified demo``."""
