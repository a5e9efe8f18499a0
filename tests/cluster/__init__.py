"""What is done to a cluster; and what only a real API server can tell of it.

Tests with the fixture `api` get one on loopback: etcd and kube-apiserver with RBAC, without controllers or
nodes; what these would make, the tests make. `make test-cluster` builds it, else these tests are skipped.
"""
