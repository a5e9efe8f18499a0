"""KServe: the InferenceService, its rollout, its check, and who answers at which address."""
