"""The benchmark: streamtos3 beside its peers, on one machine, against an endpoint of its own."""
