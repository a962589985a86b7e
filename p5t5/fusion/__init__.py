"""The blend of model and baselines, with weights fitted on validation rows."""
