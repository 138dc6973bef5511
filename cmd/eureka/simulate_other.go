//go:build !unix

package main

import "os"

// reportSignals tells nothing where there is no SIGUSR1; the control endpoint has the report.
func reportSignals() (wanted <-chan os.Signal, stop func()) { return nil, func() {} }
