"""What only a real API server can tell: validation, rights, conflicts, its proxy, its restarts.

etcd and kube-apiserver run on loopback, with RBAC and without controllers, nodes or pods: what controllers
would make, the tests make. `make test-cluster` builds the server; without it these tests are skipped.
"""
