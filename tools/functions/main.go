// Command functions writes the zip of the serverless service's functions to the file that is named, for binaries that carry it. It builds them from the
// source in the working directory, and uploads nothing.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"eureka/internal/deploy"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "functions:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: functions FILE")
	}
	bootstrap, err := deploy.BuildBootstrap(context.Background())
	if err != nil {
		return err
	}
	zip, err := deploy.Zip(bootstrap)
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[0], zip, 0o600); err != nil { //nolint:gosec // whoever builds names it
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %.1f MB, unpacked %.1f MB\n", args[0], float64(len(zip))/1e6, float64(len(bootstrap))/1e6)
	return err
}
