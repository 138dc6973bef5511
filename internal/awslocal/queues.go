package awslocal

import (
	"context"
	_ "embed" // the script
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

//go:embed queues.mjs
var queuesScript string

// StartQueues starts the stand-in of SQS and SNS and returns when it answers. The error wraps ErrNotInstalled when it or its Node is missing.
func StartQueues(ctx context.Context) (*Process, error) {
	tools, err := Tools()
	if err != nil {
		return nil, err
	}
	node := filepath.Join(tools, "node_modules", "node", "bin", "node")
	folder := filepath.Join(tools, "node_modules", "fauxqs")
	for _, path := range []string{node, folder} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("fauxqs or its Node %w", ErrNotInstalled)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	p, err := run(ctx, node, "--input-type=module", "--eval", queuesScript, folder, port)
	if err != nil {
		return nil, err
	}
	p.Endpoint = "http://127.0.0.1:" + port
	if err := p.await(ctx, func(ctx context.Context) error { return queuesAnswer(ctx, p.Endpoint) }); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func queuesAnswer(ctx context.Context, endpoint string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/health", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %w", response.Status, err)
	}
	return nil
}
