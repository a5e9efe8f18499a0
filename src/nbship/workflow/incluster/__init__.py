"""What runs in the containers of a pipeline on Kubeflow: a notebook, and the steps around the notebooks."""
