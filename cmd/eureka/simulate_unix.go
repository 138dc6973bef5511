//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// reportSignals tells when a report is wanted: on SIGUSR1.
func reportSignals() (wanted <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}
