"""Sessions: claiming, leasing, validating, revoking and importing connected accounts."""
