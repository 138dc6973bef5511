// Command eureka runs the service and talks to one that runs.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
)

// program is what a command needs of the world, so that tests can run it in theirs.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	signals        <-chan os.Signal
	terminal       bool // stdout is one
}

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), signals: signals}
	p.terminal = isatty.IsTerminal(os.Stdout.Fd())
	os.Exit(p.run(context.Background(), os.Args[1:]))
}
