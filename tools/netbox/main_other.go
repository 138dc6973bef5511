//go:build !linux

// Command netbox needs Linux's network namespaces.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "netbox: this system has no network namespaces")
	os.Exit(1)
}
