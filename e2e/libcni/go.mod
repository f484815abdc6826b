module libcni

go 1.26.0

require github.com/containernetworking/cni v1.3.0

tool github.com/containernetworking/cni/cnitool
