"""The model server: KServe's V1 and the Open Inference protocol over HTTP, and its metrics."""
