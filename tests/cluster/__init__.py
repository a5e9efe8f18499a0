"""What is done to a cluster; and what only a real API server can tell of it.

Tests with the fixture `api` get one on loopback: etcd and kube-apiserver with RBAC, without controllers, nodes or
pods; so what controllers would make, the tests make. `make test-cluster` builds it; else they are skipped.
"""
