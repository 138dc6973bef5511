package awslocal_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"testing"

	"eureka/internal/awslocal"
)

// TestStart: both stand-ins answer, on loopback alone, and are gone after Stop.
func TestStart(t *testing.T) {
	for name, start := range map[string]func(context.Context) (*awslocal.Process, error){
		"DynamoDB": awslocal.StartDynamoDB, "queues": awslocal.StartQueues,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := start(t.Context())
			if errors.Is(err, awslocal.ErrNotInstalled) && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			at, err := url.Parse(p.Endpoint)
			if err != nil || at.Hostname() != "127.0.0.1" {
				t.Errorf("the endpoint is %s", p.Endpoint)
			}
			p.Stop()
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.Host)
			if err == nil {
				_ = c.Close()
				t.Error("it still listens after Stop")
			}
			p.Stop()
		})
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("EUREKA_TOOLS", t.TempDir())
	for name, start := range map[string]func(context.Context) (*awslocal.Process, error){
		"DynamoDB": awslocal.StartDynamoDB, "queues": awslocal.StartQueues,
	} {
		if _, err := start(t.Context()); !errors.Is(err, awslocal.ErrNotInstalled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
