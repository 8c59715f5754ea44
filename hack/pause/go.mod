// The process that holds the namespaces of each pod of hack/cluster.
module contour-operator.local/pause

go 1.26.0
