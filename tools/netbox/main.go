//go:build linux

// Command netbox runs a server that listens on all interfaces in a network namespace of its own, whose only interface is loopback, and lets
// this machine reach it through a unix socket alone. DynamoDB Local is such a server: it has no setting for its address.
//
// Usage: netbox SOCKET PORT PROGRAM [ARG…]. It ends with the program, and the program ends when netbox's standard input does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside marks the process that is in the namespace already.
const inside = "NETBOX_INSIDE"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: netbox SOCKET PORT PROGRAM [ARG…]")
		os.Exit(2)
	}
	run := enter
	if os.Getenv(inside) != "" {
		run = serve
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "netbox: %v\n", err)
		os.Exit(1)
	}
}

// enter starts this program again in a new network namespace. Without root's rights it takes a new user namespace too.
func enter() error {
	command := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...) //nolint:gosec // itself
	command.Env = append(os.Environ(), inside+"=1")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return command.Run()
}

// serve runs the program and relays the connections of the unix socket to its port.
func serve() error {
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	socket, port := os.Args[1], os.Args[2]
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, os.Args[3], os.Args[4:]...) //nolint:gosec // what its caller asks for
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when whoever started netbox has ended
		cancel()
	}()
	go relay(ctx, listener, net.JoinHostPort("127.0.0.1", port))
	err = command.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func relay(ctx context.Context, listener net.Listener, address string) {
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		go func() {
			defer func() { _ = client.Close() }()
			server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return
			}
			defer func() { _ = server.Close() }()
			pipe(client, server)
		}()
	}
}

// pipe copies both ways until both sides have ended.
func pipe(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // the other side may have ended first
			}
		})
	}
	both.Wait()
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
