package natsengine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"eureka"
)

// TestBrokenConnectionIsNoDefect: a request that the end of the connection meets in the middle may be tried again.
func TestBrokenConnectionIsNoDefect(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code eureka.Code
	}{
		{&net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, eureka.CodeUnavailable},
		{fmt.Errorf("flushing: %w", net.ErrClosed), eureka.CodeUnavailable},
		{io.EOF, eureka.CodeUnavailable},
		{io.ErrClosedPipe, eureka.CodeUnavailable},
		{nats.ErrReconnectBufExceeded, eureka.CodeUnavailable},
		{context.DeadlineExceeded, eureka.CodeUnavailable},
		{nats.ErrMaxPayload, eureka.CodeInternal},
		{errors.New("something else"), eureka.CodeInternal},
	} {
		if code := eureka.CodeOf(natsError(tt.err, "not now")); code != tt.code {
			t.Errorf("%v is %s, want %s", tt.err, code, tt.code)
		}
	}
}
